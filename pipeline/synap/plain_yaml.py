"""YAML from elsewhere as plain maps, lists and words, in bounded depth, size and time.

Built from the parser's events, so that nothing nests: no constructors, no tags, no merge keys, and
an alias costs as much as what it repeats. Scalars stay text; what they mean is the reader's to say.
"""

from dataclasses import dataclass, field
from typing import Union

import yaml

from pipeline.errors import StageError
from pipeline.inspect.printable import printable

Plain = Union[str, "list[Plain]", "dict[str, Plain]"]
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser is twenty times as fast, where PyYAML was built with it."""


def read_plain(text: str, where: str, *, depth: int, scalars: int) -> Plain:
    """The document that `text` is: at most `depth` levels and `scalars` words, aliases written out.

    Raises StageError with file and line for anything else, duplicate keys included.
    """
    builder = _Builder(where, depth, scalars)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StageError(
            f"not YAML: {printable(str(error.problem))}", where=f"{where}{line}"
        ) from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", "it cannot be parsed")
        raise StageError(f"not YAML: {reason}", where=where) from None
    return builder.result


@dataclass
class _Open:
    """A list or map that is not closed yet. `key` is the one whose value comes next."""

    data: "list[Plain] | dict[str, Plain]"
    anchor: str | None
    start: int
    """How many words there were before it."""
    key: str | None = None


@dataclass
class _Builder:
    where: str
    depth: int
    scalars: int
    result: Plain = field(default_factory=dict)
    documents: int = 0
    count: int = 0
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Plain, int]] = field(default_factory=dict)

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise self._wrong(event, "a second document")
            case yaml.ScalarEvent():
                self._untagged(event, event.tag)
                self._charge(event, 1)
                self._add(event, str(event.value))
                if event.anchor:
                    self.anchors[event.anchor] = (str(event.value), 1)
            case yaml.AliasEvent():
                if event.anchor not in self.anchors:
                    raise self._wrong(event, "an alias of something unfinished or unknown")
                value, size = self.anchors[event.anchor]
                self._charge(event, size)
                self._add(event, value)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._untagged(event, event.tag)
                data: list[Plain] | dict[str, Plain] = (
                    [] if isinstance(event, yaml.SequenceStartEvent) else {}
                )
                self._add(event, data)
                self.stack.append(_Open(data, event.anchor, self.count))
                if len(self.stack) > self.depth:
                    raise self._wrong(event, "nested too deeply")
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self.stack.pop()
                if done.anchor:
                    self.anchors[done.anchor] = (done.data, self.count - done.start + 1)
            case _:
                pass

    def _add(self, event: yaml.Event, value: Plain) -> None:
        if not self.stack:
            self.result = value
            return
        top = self.stack[-1]
        if isinstance(top.data, list):
            top.data.append(value)
        elif top.key is not None:
            top.data[top.key], top.key = value, None
        elif not isinstance(value, str) or value == "<<":
            raise self._wrong(event, "a key has to be a word")
        elif value in top.data:
            raise self._wrong(event, f"{value!r} is given twice")
        else:
            top.key = value

    def _untagged(self, event: yaml.Event, tag: str | None) -> None:
        if tag is not None:
            raise self._wrong(event, f"the tag {tag!r}; plain values are expected")

    def _charge(self, event: yaml.Event, size: int) -> None:
        self.count += size
        if self.count > self.scalars:
            raise self._wrong(event, f"more than {self.scalars} values")

    def _wrong(self, event: yaml.Event, what: str) -> StageError:
        line = f":{event.start_mark.line + 1}" if event.start_mark else ""
        return StageError(printable(what), where=f"{self.where}{line}")
