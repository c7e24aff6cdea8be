"""Texts that would do something to a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inspect.printable import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("logits:0", "logits:0"),
        ("größe 猫", "größe 猫"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202eabc", "\\u202eabc"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "\\xff\\x00"),
        ("a" * 201, "a" * 199 + "…"),
        ("a" * 200, "a" * 200),
    ],
)
def test_what_is_shown(text: str | bytes, shown: str) -> None:
    assert printable(text) == shown


def test_a_message_keeps_its_lines() -> None:
    assert printable_lines("a\n\x1bb", 100) == "a\n\\x1bb"
    assert len(printable_lines("x\n" * 10_000, 100)) <= 101


@given(st.text() | st.binary())
def test_nothing_shown_is_anything_but_print(text: str | bytes) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
