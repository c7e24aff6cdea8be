"""What only the user knows, asked where there is somebody to ask."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Ask(Protocol):
    """Asks a person. Off a terminal there is none, and None stands in its place."""

    def __call__(self, question: str, default: str, parse: Callable[[str], T]) -> T:
        """The parsed answer; asked again while `parse` raises ValueError with what is wrong."""


def one_of(words: Iterable[str]) -> Callable[[str], str]:
    """Parses one of these words."""
    known = list(words)

    def parse(answer: str) -> str:
        if answer not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return answer

    return parse


def number(kind: Callable[[str], T], least: float, most: float) -> Callable[[str], T]:
    """Parses a number between two, both included."""

    def parse(answer: str) -> T:
        try:
            value = kind(answer)
            inside = least <= value <= most  # type: ignore[operator]
        except (ValueError, OverflowError):
            inside = False
        if not inside:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return value

    return parse
