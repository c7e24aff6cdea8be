"""Whether crops are what a model takes."""

from collections.abc import Sequence

from pipeline.errors import StageError

OTHER_PREPROCESSING = "give the preprocessing that it was made for"


def require_fit(wanted: Sequence[int | str | None], given: Sequence[int], where: str) -> None:
    """Raise StageError where an image's shape is not the wanted one, whose free dimensions have
    names or nothing."""
    if len(wanted) != len(given) or any(
        isinstance(side, int) and side != have for side, have in zip(wanted, given, strict=True)
    ):
        raise StageError(
            f"wants images of shape {list(wanted)}, but they are prepared as {list(given)}",
            where=where,
            hint=OTHER_PREPROCESSING,
        )
