"""Work in threads, a bounded piece ahead of whoever consumes it, in the order of the items."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def look_ahead(
    work: Callable[[Given], Made], items: Iterable[Given], *, workers: int, limit: int
) -> Generator[Made, None, None]:
    """`map(work, items)` by `workers` threads with at most `limit` results under way or waiting.

    An exception of `work` surfaces at its item's turn, and nothing further is started.
    """
    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="look-ahead") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= limit:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
