"""Read a JSON file that may be anything as a typed value, or say in one error what is wrong."""

import json
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import StageError, UsageError

LARGEST = 32 * 2**20
"""Bytes. A report has some ten thousand."""
_SHOWN = 3
"""How many of the things that are wrong with a file are said."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Change = Annotated[float, Field(ge=-1.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]
Milliseconds = Annotated[float, Field(gt=0.0)]
Bytes = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*$", max_length=200)]
"""A recipe's, target's or stage's name. A recipe's becomes a file's name: there is no separator in
it, nor a dot in front."""


class Read(BaseModel):
    """Part of a file that is read and left as it is; what is not named here is of no concern."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, strict=True)


Model = TypeVar("Model", bound=BaseModel)


def read_json(path: Path, model: type[Model], what: str, schema: int, hint: str) -> Model:
    """The file as `model`. `what` names such a file in words, `hint` says how one is made.

    Raises UsageError where the file says it is of another schema than `schema`, which makes it
    another thing and not a damaged one, and StageError for all else that is wrong.
    """
    where = str(path)
    text = _text_of(path, where, what, hint)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise StageError(f"is not JSON: {reason}", where=where, hint=hint) from None
    if not isinstance(data, dict):
        raise StageError(f"is not {what}: it holds no object", where=where, hint=hint)
    found = data.get("schema")
    if not isinstance(found, int) or isinstance(found, bool):
        said = "is no whole number" if "schema" in data else "is missing"
        raise StageError(f"is not {what}: schema: {said}", where=where, hint=hint)
    if found != schema:
        raise UsageError(
            f"{what} of schema {found}, and this version of the pipeline compares schema {schema}",
            where=where,
            hint=hint,
        )
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        said = _in_words(error)
        if all(detail["type"] == "missing" for detail in error.errors()):
            # Files of a schema are only ever added to, so this is what one of before looks like.
            raise StageError(
                f"was written by an older version of the pipeline, or is damaged: {said}",
                where=where,
                hint=f"make it again: {hint}",
            ) from None
        raise StageError(f"is not {what}: {said}", where=where, hint=hint) from None


def _text_of(path: Path, where: str, what: str, hint: str) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise StageError(f"there is no such file; it should be {what}", where=where, hint=hint) from None  # fmt: skip
    except OSError as error:
        raise StageError(f"cannot be read: {error.strerror}", where=where, hint=hint) from None
    if len(content) > LARGEST:
        raise StageError(f"is not {what}: it is larger than 32 MB", where=where, hint=hint)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise StageError(f"is not {what}: it is not UTF-8 text", where=where, hint=hint) from None


def _in_words(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)
    said = [
        f"{'.'.join(map(str, detail['loc'])) or 'the file'}: {_message(detail['msg'])}"
        for detail in found[:_SHOWN]
    ]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "; ".join([*said, *more])


def _message(text: str) -> str:
    text = text.removeprefix("Value error, ").replace("Input should", "should")
    return "is missing" if text == "Field required" else text
