"""How long work tells the outside that it advances, without printing itself."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of long work that is under way."""

    def advance(self, amount: float = 1.0) -> None:
        """Say that `amount` more of the total is done."""


class Progress(Protocol):
    """Given to everything that may take long; the terminal's and the silent one implement it."""

    def bar(self, text: str, total: float) -> AbstractContextManager[Bar]:
        """A context manager that shows a bar of `total` units while its body runs; 0 where nobody
        knows how many there are. One within another is a part of its work."""

    def note(self, text: str) -> None:
        """Say one thing a user should know (a download, an image that was left out)."""


class _NoBar:
    def advance(self, amount: float = 1.0) -> None:
        return


class Silent:
    """Shows nothing and keeps the notes, for tests and for use as a library."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator[Bar]:
        yield _NoBar()

    def note(self, text: str) -> None:
        self.notes.append(text)


class Remembering:
    """Another progress, whose notes are kept as well: they belong to what is made meanwhile."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self.notes: list[str] = []

    def bar(self, text: str, total: float) -> AbstractContextManager[Bar]:
        return self._inner.bar(text, total)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._inner.note(text)
