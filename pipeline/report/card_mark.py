"""The machine-readable part of a card: a comment at its end that names its artifacts by digest."""

import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.regression.reading import Digest
from pipeline.report.card_example import Example, NoExample

CARD_VERSION: Literal[3] = 3
"""Raised whenever the same artifacts would give another text."""
_START = "<!-- card: "
_END = " -->"
_LINE = re.compile(rf"^{_START}(.*){_END}$", re.MULTILINE)
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class ExampleMark(_Part):
    """`Example`, as the card's text has it."""

    top: Annotated[tuple[tuple[Annotated[int, Field(ge=0)], float], ...], Field(min_length=1)]
    format: str
    model_sha256: Digest
    picture_sha256: Digest
    runtime: str
    cpu: str


class Mark(_Part):
    """What the comment holds. `files` are beside the card; without an example, why there is none."""

    version: Literal[3]
    files: dict[FileName, Digest]
    example: ExampleMark | None
    no_example: str | None

    @property
    def outcome(self) -> Example | NoExample:
        """The example as the value that cards are written from."""
        if self.example is None:
            return NoExample(self.no_example or "")
        return Example(**dict(self.example))


class NoMark(ValueError):
    """A text without a machine-readable part, or with one that is damaged; says which."""


def mark_of(files: dict[str, str], outcome: Example | NoExample) -> Mark:
    """The mark of a card of these files."""
    example = ExampleMark(**vars(outcome)) if isinstance(outcome, Example) else None
    reason = outcome.reason if isinstance(outcome, NoExample) else None
    return Mark(version=CARD_VERSION, files=files, example=example, no_example=reason)


def mark_text(mark: Mark) -> str:
    """The comment, one line."""
    text = json.dumps(mark.model_dump(mode="json"), sort_keys=True)
    # Two hyphens would end the comment; JSON has them only in strings, where they can be escaped.
    return f"{_START}{text.replace('--', '-' + chr(92) + 'u002d')}{_END}"


def read_mark(card: str) -> Mark:
    """The mark of a card's text. Raises NoMark."""
    found = _LINE.findall(card)
    if len(found) != 1:
        how = "no machine-readable part" if not found else "several machine-readable parts"
        raise NoMark(f"has {how}: it is not a card as the pipeline writes them")
    try:
        data = json.loads(found[0])
        if isinstance(data, dict) and data.get("version") not in (None, CARD_VERSION):
            raise NoMark("was written by another version of the pipeline")
        return Mark.model_validate_json(found[0])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise NoMark(f"has a damaged machine-readable part: {place}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, NoMark):
            raise
        raise NoMark("has a damaged machine-readable part: it is not JSON") from None


def without_mark(card: str) -> str:
    """The text that people read."""
    return _LINE.sub("", card)
