"""From YAML text to plain data, every value with the place it was written at.

Stricter than YAML: keys are the words that were written, a key is given once, and aliases cannot
make more of a text than a recipe can be.
"""

import datetime
from collections.abc import Callable
from typing import Any

import yaml

from pipeline.errors import UsageError

KeyPath = tuple[str | int, ...]
Places = dict[KeyPath, str]
Place = Callable[[yaml.Mark | None], str]
"""What errors call a place in the text."""

LARGEST = 10_000
"""Values of a recipe. None has a hundredth of them, but aliases of aliases can stand for billions."""
_MERGE = "tag:yaml.org,2002:merge"
_SCALARS = (str, bool, int, float, datetime.date)
"""What a word may stand for, besides nothing; dates are words here as well."""
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def read_text(text: str, place: Place, places: Places, path: KeyPath = ()) -> Any:
    """The plain data of a YAML text, which stands at `path`; None for an empty one.

    `places` gets the place of every key path. Raises UsageError for what is no YAML or not plain.
    """
    node = _compose(text, place)
    return None if node is None else _Reader(places, place).read(node, path)


def dotted(path: KeyPath) -> str:
    """A key path as people write it."""
    return ".".join(str(part) for part in path)


def _compose(text: str, place: Place) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UsageError(f"not YAML: {error.problem}", where=place(mark)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # of numbers too long to be read
        raise UsageError(f"not YAML: {error}", where=place(None)) from None
    except RecursionError:
        raise UsageError("nested too deeply", where=place(None)) from None


class _Reader:
    """From YAML's nodes to plain data. Keys are the words that were written, whatever type YAML
    would read them as; every alias becomes a copy, so that overriding one leaves the others."""

    def __init__(self, places: Places, place: Place) -> None:
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
            self._require_characters(key)
            if key.tag == _MERGE:
                parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for part in reversed(parts):
                    if not isinstance(part, yaml.MappingNode):
                        raise UsageError(
                            "`<<` merges only mappings", where=self._place(key.start_mark)
                        )
                    merged |= self._pairs(part, path, self._below(part, above))
            elif key.value in own:
                word = dotted((*path, key.value))
                raise UsageError(f"{word} is given twice", where=self._place(key.start_mark))
            else:
                own[key.value] = (key, value)
        return merged | own

    def _below(self, node: yaml.Node, above: frozenset[int]) -> frozenset[int]:
        if id(node) in above:
            raise UsageError("an alias contains itself", where=self._place(node.start_mark))
        return above | {id(node)}

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        self._require_characters(node)
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            reason = getattr(error, "problem", None) or error
            raise UsageError(
                f"not plain YAML: {reason}", where=self._place(node.start_mark)
            ) from None
        if value is not None and not isinstance(value, _SCALARS):
            raise UsageError(f"not plain YAML: {node.tag}", where=self._place(node.start_mark))
        return value

    def _require_characters(self, node: yaml.ScalarNode) -> None:
        r"""`"\ud800"` is half a character, which no file or terminal can take."""
        half = next((letter for letter in node.value if "\ud800" <= letter <= "\udfff"), None)
        if half is not None:
            raise UsageError(
                f"{half!a} is no character but half of one",
                where=self._place(node.start_mark),
                hint=r"write the character itself, or all of it as one escape like \U0001f600",
            )
