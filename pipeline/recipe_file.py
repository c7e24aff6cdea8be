"""Read a recipe file: YAML in, a frozen `Recipe` out, or an error with file, line and suggestion.

Parsing and validation happen here, once, at the edge; nothing behind it sees raw YAML.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import UsageError
from pipeline.recipe import Recipe, recipe_name

KeyPath = tuple[str | int, ...]
Place = Callable[[yaml.Mark | None], str]
"""What errors call a place in the text."""

LARGEST = 10_000
"""Values of a recipe. None has a hundredth of them, but aliases of aliases can stand for billions."""
_MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MOST_VALUES = 10_000
"""A few nested aliases can stand for billions of values; no recipe has this many."""


@dataclass(frozen=True)
class RecipeFile:
    """A recipe and where it came from; relative paths in it are relative to `folder`."""

    recipe: Recipe
    path: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.path.parent


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """Read `path` and apply `overrides` of the form `quantize.scheme=asymmetric_affine`.

    Raises `UsageError` naming file and line of everything that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError("there is no such recipe", where=str(path), hint=_near(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from None
    places: dict[KeyPath, str] = {}
    data = _parse(text, str(path), places)
    for override in overrides:
        _apply(data, places, override)
    try:
        recipe = Recipe.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(error, places, str(path)))) from None
    return RecipeFile(recipe, path, recipe_name(path.name))


def _near(path: Path) -> str:
    beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    return f"recipes in {path.parent}: {', '.join(beside)}" if beside else ""


def _parse(text: str, name: str, places: dict[KeyPath, str]) -> dict[str, Any]:
    """The plain data of a YAML text; `places` gets `file:line` for every key path."""

    def line(mark: yaml.Mark | None) -> str:
        return name if mark is None else f"{name}:{mark.line + 1}"

    root = _compose(text, line)
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(
            "a recipe is a mapping of `key: value` lines", where=name, hint="see `pipeline schema`"
        )
    data: dict[str, Any] = _Reader(places, line).read(root, ())
    return data


def _compose(text: str, place: Place) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UsageError(f"not YAML: {error.problem}", where=place(mark)) from None
    except yaml.YAMLError as error:
        raise UsageError(f"not YAML: {error}", where=place(None)) from None
    except RecursionError:
        raise UsageError("nested too deeply", where=place(None)) from None


class _Reader:
    """From YAML's nodes to plain data. Keys are the words that were written, whatever type YAML
    would read them as; every alias becomes a copy, so that overriding one leaves the others."""

    def __init__(self, places: dict[KeyPath, str], place: Place) -> None:
        self._places = places
        self._place = place

    def read(self, node: yaml.Node, path: KeyPath, above: frozenset[int] = frozenset()) -> Any:
        """The data of the node at `path`. Raises UsageError for all that is not plain."""
        where = self._places.setdefault(path, self._place(node.start_mark))
        if len(self._places) > LARGEST:
            raise UsageError(f"has more than {LARGEST} values, aliases written out", where=where)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        above = self._below(node, above)
        if node.tag not in _COLLECTIONS:
            raise UsageError(f"not plain YAML: {node.tag}", where=where)
        if not isinstance(node, yaml.MappingNode):
            return [self.read(item, (*path, i), above) for i, item in enumerate(node.value)]
        data = {}
        for word, (key, value) in self._pairs(node, path, above).items():
            self._places[(*path, word)] = self._place(key.start_mark)
            data[word] = self.read(value, (*path, word), above)
        return data

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, above: frozenset[int]
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The keys of a mapping: those that `<<` merges in, then its own, which win."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError("a key has to be a word", where=self._place(key.start_mark))
            if key.tag == _MERGE:
                parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for part in reversed(parts):
                    if not isinstance(part, yaml.MappingNode):
                        raise UsageError(
                            "`<<` merges only mappings", where=self._place(key.start_mark)
                        )
                    merged |= self._pairs(part, path, self._below(part, above))
            elif key.value in own:
                word = _dotted((*path, key.value))
                raise UsageError(f"{word} is given twice", where=self._place(key.start_mark))
            else:
                own[key.value] = (key, value)
        return merged | own

    def _below(self, node: yaml.Node, above: frozenset[int]) -> frozenset[int]:
        if id(node) in above:
            raise UsageError("an alias contains itself", where=self._place(node.start_mark))
        return above | {id(node)}

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            reason = getattr(error, "problem", None) or error
            raise UsageError(
                f"not plain YAML: {reason}", where=self._place(node.start_mark)
            ) from None


def _apply(data: dict[str, Any], places: dict[KeyPath, str], override: str) -> None:
    """Put one `--set a.b=value` into the data; the value is read as YAML."""
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys):
        raise UsageError(
            f"cannot be understood: {override!r}", where="--set", hint="write key.key=value"
        )
    node = _compose(text, lambda _: f"--set {dotted}")
    section = data
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{key} is not a section", where=f"--set {dotted}")
        section = inner
    for path in [path for path in places if path[: len(keys)] == keys]:
        del places[path]
    for length in range(1, len(keys) + 1):
        places.setdefault(keys[:length], "--set")
    section[keys[-1]] = (
        None if node is None else _Reader(places, lambda _: "--set").read(node, keys)
    )


def _explain(error: ValidationError, places: Mapping[KeyPath, str], name: str) -> list[str]:
    """One line for each thing that pydantic refused."""
    found = [(*_split(detail["loc"], places), detail) for detail in error.errors()]
    lines = [
        _in_words(path, unknown, detail, places.get(path, name))
        for path, unknown, detail in found
        if not any(_is_beside_the_point(path, detail, *other[::2]) for other in found)
    ]
    return list(dict.fromkeys(lines))


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


def _in_words(path: KeyPath, unknown: KeyPath, detail: ErrorDetails, where: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return f"{where}: {_dotted((*path, *unknown[-1:]))}: is missing"
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        return f"{where}: {_dotted(path)}: unknown key{_suggest(str(path[-1]), known)}"
    if kind == "literal_error":
        known = [word.strip(" '") for word in _split_expected(str(context["expected"]))]
        return f"{where}: {_dotted(path)}: unknown {detail['input']!r}{_suggest(str(detail['input']), known)}"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    shown = (
        ""
        if isinstance(detail["input"], dict)
        else f" (here: {detail['input']!r}{_as_number(detail['input'])})"
    )
    return f"{where}: {_dotted(path) or 'recipe'}: {message}{shown}"


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


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)
