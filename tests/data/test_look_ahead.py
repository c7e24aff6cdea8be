import threading
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.look_ahead import look_ahead


@settings(max_examples=50, deadline=None)
@given(items=st.lists(st.integers()), workers=st.integers(1, 5), limit=st.integers(1, 9))
def test_is_map(items: list[int], workers: int, limit: int) -> None:
    found = list(look_ahead(lambda item: item * 2, items, workers=workers, limit=limit))
    assert found == [item * 2 for item in items]


def test_keeps_the_order_when_later_items_are_ready_first() -> None:
    second_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_done.wait(10)
        else:
            second_done.set()
        return item

    assert list(look_ahead(work, range(6), workers=2, limit=3)) == list(range(6))


def test_goes_no_further_ahead_than_its_limit() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        return item

    with closing(look_ahead(work, range(1000), workers=3, limit=7)) as it:
        for consumed, item in enumerate(it):
            time.sleep(0.001)
            assert item == consumed
            assert len(started) <= consumed + 7
            if consumed == 50:
                break
    assert len(started) <= 50 + 7


def test_an_exception_surfaces_at_its_turn_and_ends_the_work() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == 3:
            raise KeyError("three")
        return item

    it = look_ahead(work, range(1000), workers=2, limit=4)
    assert [next(it) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(it)
    assert len(started) < 12


def test_what_waits_when_the_consumer_stops_is_not_begun() -> None:
    started: list[int] = []
    gate = threading.Event()

    def work(item: int) -> int:
        started.append(item)
        if item == 1:
            assert gate.wait(10)
        return item

    it = look_ahead(work, range(50), workers=1, limit=50)
    assert next(it) == 0
    opening = threading.Timer(0.5, gate.set)
    opening.start()
    it.close()
    opening.join()
    assert started in ([0], [0, 1])


def test_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with closing(look_ahead(lambda i: i, range(100), workers=4, limit=8)) as it:
        assert next(it) == 0
    assert threading.active_count() == before
