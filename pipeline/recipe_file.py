"""Read a recipe file: YAML in, a frozen `Recipe` out, or an error with file, line and suggestion.

Parsing and validation happen here, once, at the edge; nothing behind it sees raw YAML.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import UsageError
from pipeline.recipe import Recipe, recipe_name

KeyPath = tuple[str | int, ...]


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
    data, places = _parse(text, str(path))
    for override in overrides:
        _apply(data, places, override)
    try:
        recipe = Recipe.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = [_explain(detail, places, str(path)) for detail in error.errors()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from None
    return RecipeFile(recipe, path, recipe_name(path.name))


def _near(path: Path) -> str:
    beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    return f"recipes in {path.parent}: {', '.join(beside)}" if beside else ""


def _parse(text: str, name: str) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """The plain data of a YAML text and, for every key path, `file:line`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"not YAML: {error.problem}", where=f"{name}{line}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"not YAML: {error}", where=name) from None
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(
            "a recipe is a mapping of `key: value` lines", where=name, hint="see `pipeline schema`"
        )
    places: dict[KeyPath, str] = {}
    _locate(root, (), name, places, set())
    try:
        data: dict[str, Any] = yaml.SafeLoader("").construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise UsageError(f"not plain YAML: {error.problem}", where=name) from None
    return data, places


def _locate(
    node: yaml.Node, path: KeyPath, name: str, places: dict[KeyPath, str], above: set[int]
) -> None:
    places.setdefault(path, f"{name}:{node.start_mark.line + 1}")
    if id(node) in above:
        raise UsageError("an alias contains itself", where=places[path])
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = f"{name}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError("a key has to be a word", where=place)
            if (*path, key.value) in places:
                raise UsageError(f"{_dotted((*path, key.value))} is given twice", where=place)
            places[(*path, key.value)] = place
            _locate(value, (*path, key.value), name, places, above)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _locate(value, (*path, number), name, places, above)


def _apply(data: dict[str, Any], places: dict[KeyPath, str], override: str) -> None:
    """Put one `--set a.b=value` into the data; the value is read as YAML."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(
            f"cannot be understood: {override!r}", where="--set", hint="write key.key=value"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"the value is not YAML: {text!r}", where=f"--set {dotted}") from None
    section = data
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{key} is not a section", where=f"--set {dotted}")
        section = inner
    section[keys[-1]] = value
    for length in range(1, len(keys) + 1):
        places.setdefault(tuple(keys[:length]), "--set")
    places[tuple(keys)] = "--set"


def _explain(detail: ErrorDetails, places: Mapping[KeyPath, str], name: str) -> str:
    """One line for one thing that pydantic refused."""
    # pydantic puts the members of a union into the path; only what the user wrote is shown.
    path: KeyPath = ()
    unknown: list[str | int] = []
    for part in detail["loc"]:
        if not unknown and (*path, part) in places:
            path = (*path, part)
        else:
            unknown.append(part)
    where = places.get(path, name)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return f"{where}: {_dotted((*path, *unknown))}: is missing"
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        return f"{where}: {_dotted(path)}: unknown key{_suggest(str(path[-1]), known)}"
    if kind == "literal_error":
        known = [word.strip(" '") for word in _split_expected(str(context["expected"]))]
        return f"{where}: {_dotted(path)}: unknown {detail['input']!r}{_suggest(str(detail['input']), known)}"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    shown = "" if isinstance(detail["input"], dict) else f" (here: {detail['input']!r})"
    return f"{where}: {_dotted(path) or 'recipe'}: {message}{shown}"


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
