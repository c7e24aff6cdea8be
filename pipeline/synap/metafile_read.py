"""Read a metafile that somebody wrote: every error in words, with file and line.

YAML leaves room that the toolkit and we might fill differently, so what is ambiguous is refused:
a key given twice, an alias, and bare words that YAML 1.1 and 1.2 (which the toolkit reads) take
for different things, such as `yes`, `010` and `1e3`.
"""

import difflib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import UsageError
from pipeline.synap.metafile import (
    Input,
    Metafile,
    ModelFormat,
    Output,
    Preprocess,
    Quantization,
    Section,
    Security,
)
from pipeline.synap.metafile_check import broken_rules
from pipeline.synap.metafile_rules import KeyPath

MAX_CHARACTERS = 1 << 17
_TAG = "tag:yaml.org,2002:"
_SECTIONS: dict[str, type[Section]] = {
    "inputs": Input,
    "outputs": Output,
    "preprocess": Preprocess,
    "quantization": Quantization,
    "security": Security,
}
# The bare words of YAML 1.2's core schema (chapter 10.3), without its rarer spellings.
_SAME_IN_BOTH = {
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+([eE][-+][0-9]+)?|[-+]?(0|[1-9][0-9]*)\."),
    "null": re.compile(r"null|Null|NULL|~|"),
}
_NUMBER_IN_NEWER = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+")


def load_metafile(path: Path, model_format: ModelFormat | None = None) -> Metafile:
    """The metafile at `path`. Raises `UsageError` naming file and line of all that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError("there is no such metafile", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from None
    return parse_metafile(text, str(path), model_format)


def parse_metafile(
    text: str, name: str = "metafile", model_format: ModelFormat | None = None
) -> Metafile:
    """The metafile that `text` is; `name` is what errors call it, `model_format` the model's.

    Raises `UsageError` naming the line of every unknown field, wrong type and broken rule.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{len(text)} characters are too many for a metafile", where=name)
    if re.search(r"\$\{(ENV|FILE):", text):  # rule 1, which holds in comments, too
        line = text[: text.index("${")].count("\n") + 1
        raise UsageError(
            "${ENV:…} and ${FILE:…} would be replaced by the toolkit", where=f"{name}:{line}",
            hint="write the value itself",
        )  # fmt: skip
    places: dict[KeyPath, str] = {}
    try:
        data = _data(text, name, places)
        metafile = Metafile.model_validate_json(json.dumps(data), strict=True)
    except RecursionError:
        raise UsageError("nested too deeply", where=name) from None
    except ValidationError as error:
        lines = [_explain(detail, places, name) for detail in error.errors()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from None
    broken = broken_rules(metafile, model_format)
    if broken:
        raise UsageError("\n".join(f"{_place(places, b.path, name)}: {b}" for b in broken))
    return metafile


def _data(text: str, name: str, places: dict[KeyPath, str]) -> Any:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return {} if root is None else _plain(root, (), name, places, set())
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"not YAML: {error.problem}", where=f"{name}{line}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as "\UFFFFFFFF"
        raise UsageError(f"not YAML: {error}", where=name) from None


def _plain(
    node: yaml.Node, path: KeyPath, name: str, places: dict[KeyPath, str], seen: set[int]
) -> Any:
    """The plain data of a node; `places` gets `file:line` of everything in it."""
    place = f"{name}:{node.start_mark.line + 1}"
    places.setdefault(path, place)
    if id(node) in seen:
        raise UsageError("an alias; write the value out", where=place)
    seen.add(id(node))
    if node.tag not in (f"{_TAG}map", f"{_TAG}seq") and not isinstance(node, yaml.ScalarNode):
        raise UsageError(f"the tag {node.tag} is none of a metafile's", where=place)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), name, places, seen) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        data: dict[str, Any] = {}
        for key, value in node.value:
            place = f"{name}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                raise UsageError("a field has to be a word", where=place)
            if key.value in data:
                raise UsageError(f"{key.value} is given twice", where=place)
            places[(*path, key.value)] = place
            data[key.value] = _plain(value, (*path, key.value), name, places, seen)
        return data
    assert isinstance(node, yaml.ScalarNode), "compose makes no other kind"
    return _scalar(node, place)


def _scalar(node: yaml.ScalarNode, place: str) -> Any:
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "str":
        if node.style is None and _NUMBER_IN_NEWER.fullmatch(text):
            raise UsageError(f"{text} is a number to the toolkit; quote it", where=place)
        return text
    if kind not in _SAME_IN_BOTH or not _SAME_IN_BOTH[kind].fullmatch(text):
        raise UsageError(
            f"{text} is read differently by YAML 1.1 and 1.2", where=place,
            hint="quote it if it is a text; write a number or true/false plainly if not",
        )  # fmt: skip
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "float":
        return float(text)
    try:
        return int(text)
    except ValueError:  # Python reads no more than 4300
        raise UsageError(f"a number of {len(text.lstrip('+-'))} digits", where=place) from None


def _place(places: dict[KeyPath, str], path: KeyPath, name: str) -> str:
    """`file:line` of the nearest thing that was written."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path, name)


def _explain(detail: ErrorDetails, places: dict[KeyPath, str], name: str) -> str:
    """One line for one thing that pydantic refused."""
    path: KeyPath = ()
    for part in detail["loc"]:  # the members of a union are in it, too; they are not shown
        if (*path, part) in places:
            path = (*path, part)
    where, dotted = _place(places, path, name), ".".join(map(str, path))
    if detail["type"] == "extra_forbidden":
        parents = [part for part in path[:-1] if isinstance(part, str)]
        section = _SECTIONS.get(parents[-1], Metafile) if parents else Metafile
        known = list(section.model_fields)
        close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return f"{where}: {dotted}: unknown field; {hint}"
    if detail["type"] == "missing":
        return f"{where}: {dotted}.{detail['loc'][-1]}: is missing"
    message = detail["msg"].replace("Input should", "should").replace("array", "list")
    shown = "" if isinstance(detail["input"], dict) else f" (here: {detail['input']!r})"
    return f"{where}: {dotted or 'metafile'}: {message}{shown}"
