"""YAML from elsewhere: what is taken, what is refused, and that neither takes long."""

import contextlib
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.synap.plain_yaml import read_plain


def read(text: str, depth: int = 5, scalars: int = 100) -> Any:
    return read_plain(text, "file", depth=depth, scalars=scalars)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("word", "word"),
        ("a: 1.0e-05\nb: [1, 'x', yes]", {"a": "1.0e-05", "b": ["1", "x", "yes"]}),
        ("'@a:out0': {b: {c: []}}", {"@a:out0": {"b": {"c": []}}}),
        ("a: &x [1, 2]\nb: *x\nc: &y word\nd: *y", {"a": ["1", "2"], "b": ["1", "2"],
         "c": "word", "d": "word"}),
        ("a:", {"a": ""}),
    ],
)  # fmt: skip
def test_maps_lists_and_words(text: str, data: Any) -> None:
    assert read(text) == data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "file:2: 'a' is given twice"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "a key has to be a word"),
        ("[1]: 2", "a key has to be a word"),
        ("a: !!python/object/apply:os.system [ls]", "the tag 'tag:yaml.org,2002:python/"),
        ("a: !x b", "the tag '!x'"),
        ("a: *x", "alias"),
        ("a: &x [*x]", "an alias of something unfinished"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("a: 'b", "not YAML"),
        ("a: b: c", "file:1: not YAML"),
        ("a: \x00", "not YAML"),
        ("{a: " * 6, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ("[1, " * 3 + "x, " * 100, "more than 100 values"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(StageError, match="file") as caught:
        read(text)
    assert said in str(caught.value)


def test_aliases_cost_what_they_repeat() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(StageError, match="more than 100 values"):
        read(bomb)


Words = st.text(st.characters(categories=("L", "N", "P"), max_codepoint=0x2FF), max_size=8)


@given(st.dictionaries(Words, st.one_of(Words, st.lists(Words, max_size=4)), max_size=6))
def test_what_a_dumper_writes_is_read(data: dict[str, Any]) -> None:
    data.pop("<<", None)
    assert read(yaml.safe_dump(data), scalars=1000) == data
    assert read(json.dumps(data), scalars=1000) == data


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(StageError):
        read(text)
