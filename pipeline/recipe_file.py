"""Read a recipe file: YAML in, a frozen `Recipe` out, or an error with file, line and suggestion.

Parsing and validation happen here, once, at the edge; nothing behind it sees raw YAML.
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.recipe import Recipe, recipe_name
from pipeline.recipe.faults import in_words
from pipeline.recipe.yaml_text import Places, read_text


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
    except IsADirectoryError:
        raise UsageError(
            "this is a folder, not a recipe", where=str(path), hint=_listed(path)
        ) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise UsageError(
            "this is not UTF-8 text, so no recipe", where=str(path),
            hint="a model file goes to `pipeline init`, which writes a recipe for it",
        ) from None  # fmt: skip
    places: Places = {}
    data = _parse(text, str(path), places)
    for override in overrides:
        _apply(data, places, override)
    try:
        recipe = Recipe.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise UsageError("\n".join(in_words(error, places, str(path)))) from None
    return RecipeFile(recipe, path, recipe_name(path.name))


def _near(path: Path) -> str:
    beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    return _listed(path.parent)


def _listed(folder: Path) -> str:
    names = sorted(p.name for p in folder.glob("*.yaml")) if folder.is_dir() else []
    return f"recipes in {folder}: {', '.join(names)}" if names else ""


def _parse(text: str, name: str, places: Places) -> dict[str, Any]:
    """The plain data of a recipe's text; `places` gets `file:line` for every key path."""

    def line(mark: yaml.Mark | None) -> str:
        return name if mark is None else f"{name}:{mark.line + 1}"

    data = read_text(text, line, places)
    if not isinstance(data, dict):
        raise UsageError(
            "a recipe is a mapping of `key: value` lines", where=name, hint="see `pipeline schema`"
        )
    return data


def _apply(data: dict[str, Any], places: Places, override: str) -> None:
    """Put one `--set a.b=value` into the data; the value is read as YAML."""
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys):
        raise UsageError(
            f"cannot be understood: {override!r}", where="--set", hint="write key.key=value"
        )
    section = data
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            above, _, below = dotted.partition(f"{key}.")
            raise UsageError(
                f"{key} is not a section here but {inner!r}",
                where=f"--set {dotted}",
                hint=f"where it can be one, replace it: --set '{above}{key}={{{below}: {text}}}'",
            )
        section = inner
    for path in [path for path in places if path[: len(keys)] == keys]:
        del places[path]
    for length in range(1, len(keys) + 1):
        places.setdefault(keys[:length], "--set")
    written: Places = {}
    section[keys[-1]] = read_text(text, lambda _: f"--set {dotted}", written, keys)
    places |= dict.fromkeys(written, "--set")  # errors there name the key themselves
