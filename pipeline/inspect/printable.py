"""Texts out of files that nobody vouches for, made fit for a terminal."""

MAX_LENGTH = 200


def printable(text: str | bytes, limit: int = MAX_LENGTH) -> str:
    """The text with everything escaped that is not plain to see, and cut to `limit` characters.

    Escape sequences of terminals, line breaks, marks that turn the direction of writing and bytes
    that are not UTF-8 become `\\x1b` and the like.
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit + 4].decode("utf-8", errors="backslashreplace")
    kept = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in kept)


def printable_lines(text: str, limit: int) -> str:
    """The same for a message of several lines, whose line breaks stay."""
    lines = text[: limit + 1].split("\n")
    return "\n".join(printable(line, limit) for line in lines)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
