"""What is wrong with a recipe, in words: pydantic's findings with file, line and the word that was
probably meant."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.recipe.recipe import Recipe
from pipeline.recipe.yaml_text import KeyPath, dotted

_NAMED = re.compile(r"Value error, (\w+(?:\.\w+)*): ")
"""How a rule of ours begins that refuses one field because of another."""


def in_words(error: ValidationError, places: Mapping[KeyPath, str], name: str) -> list[str]:
    """One line for each thing that pydantic refused."""
    found = [(*_split(_place(detail, places), places), detail) for detail in error.errors()]
    lines = [
        _one_in_words(path, unknown, detail, places.get(path, name))
        for path, unknown, detail in found
        if not any(_is_beside_the_point(path, detail, *other[::2]) for other in found)
    ]
    return list(dict.fromkeys(lines))


def _place(detail: ErrorDetails, places: Mapping[KeyPath, str]) -> KeyPath:
    """Where an error is. For fields that do not go together pydantic only knows the section they are
    in, and the message begins with the one that has to change."""
    named = _NAMED.match(detail["msg"])
    if named is None:
        return detail["loc"]
    path, _ = _split(detail["loc"], places)
    return (*path, *named[1].split("."))


def _split(loc: KeyPath, places: Mapping[KeyPath, str]) -> tuple[KeyPath, KeyPath]:
    """Where an error is, as far as the user wrote it, and what of the place is not written.

    pydantic puts the members of a union into the path, which nobody wrote.
    """
    path: KeyPath = ()
    unknown: KeyPath = ()
    for part in loc:
        if (*path, part) in places:
            path, unknown = (*path, part), ()
        else:
            unknown = (*unknown, part)
    return path, unknown


def _is_beside_the_point(
    path: KeyPath, detail: ErrorDetails, other_path: KeyPath, other: ErrorDetails
) -> bool:
    """Of a value that may be a section or a word, pydantic says why it is neither. What was
    written as a section is not told that it is no word, nor the other way round."""
    written_as_section = isinstance(detail["input"], dict)
    if detail["type"] == "literal_error" and written_as_section:
        return other is not detail and other_path[: len(path)] == path
    not_a_section = detail["type"] == "model_type" and not written_as_section
    return not_a_section and other["type"] == "literal_error" and other_path == path


def _one_in_words(path: KeyPath, unknown: KeyPath, detail: ErrorDetails, where: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return f"{where}: {dotted((*path, *unknown[-1:]))}: is missing"
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        return f"{where}: {dotted(path)}: unknown key{_suggest(str(path[-1]), known)}"
    if kind == "literal_error":
        known = [word.strip(" '") for word in _split_expected(str(context["expected"]))]
        keys = _keys_at(path)
        section = f", or a section with {', '.join(keys)}" if keys else ""
        return (
            f"{where}: {dotted(path)}: unknown {detail['input']!r}"
            f"{_suggest(str(detail['input']), known)}{section}"
        )
    if _NAMED.match(detail["msg"]):
        path = (*path, *unknown)
    message = _NAMED.sub("", detail["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should", "should")
    shown = (
        ""
        if isinstance(detail["input"], dict)
        else f" (here: {detail['input']!r}{_as_number(detail['input'])})"
    )
    return f"{where}: {dotted(path) or 'recipe'}: {message}{shown}"


def _as_number(value: object) -> str:
    """How to write a number that YAML 1.1 takes for a word: its floats need a point and a sign."""
    found = re.fullmatch(r"([-+]?\d+)(\.\d*)?e([-+]?)(\d+)", str(value), re.IGNORECASE)
    if found is None or not isinstance(value, str):
        return ""
    return f", which YAML takes for a word; write {found[1]}{found[2] or '.0'}e{found[3] or '+'}{found[4]}"


def _split_expected(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(", ")


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _keys_at(path: KeyPath) -> list[str]:
    """The keys that the schema allows in the section at `path`."""
    schema = Recipe.model_json_schema(by_alias=True)
    node: dict[str, Any] = schema
    for key in path:
        node = node.get("properties", {}).get(key, {})
        choices = [node, *node.get("anyOf", []), *node.get("allOf", [])]
        reference = next((c["$ref"] for c in choices if "$ref" in c), None)
        if reference is not None:
            node = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return sorted(node.get("properties", {}))
