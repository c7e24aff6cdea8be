"""In what two runs differ: what was asked for, on which images, and where."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.regression.baseline import mark_of
from pipeline.regression.likeness import changes
from pipeline.report.report_read import ShownReport, ShownSamples, ShownStage

_CHOICES = (str, int, bool)
_SAID_BEFORE = {"target", "delegate", "handoff", "toolkit", "images"}


@dataclass(frozen=True)
class Difference:
    """Something in which the runs differ."""

    what: str
    a: str
    b: str


def in_recipe(a: ShownReport, b: ShownReport) -> Iterator[Difference]:
    """What was asked for: recipe, target, hand-over, and the choices of every stage."""
    pairs: list[tuple[str, Any, Any]] = [
        ("recipe", a.recipe, b.recipe),
        ("target", a.target, b.target),
        *(
            (word, getattr(a.compile, word, None), getattr(b.compile, word, None))
            for word in ("delegate", "handoff", "toolkit", "toolkit_version")
        ),
    ]
    for stage in a.stages:
        other = b.shown_stage(stage.name)
        if other is None or stage.artifact is None or other.artifact is None:
            continue
        both = _choices(stage), _choices(other)
        for key in sorted((both[0].keys() | both[1].keys()) - _SAID_BEFORE):
            pairs.append((f"{stage.name}, {key}", both[0].get(key), both[1].get(key)))
    yield from _differences(pairs)


def _choices(stage: ShownStage) -> dict[str, Any]:
    """What was chosen for a stage, by the recipe and by itself. Choices are words and whole
    numbers; the fractions in what it says of itself were measured, and the table has them."""
    found = {key: value for key, value in stage.details.items() if isinstance(value, _CHOICES)}
    return {
        **{key.replace("_", " "): value for key, value in found.items()},
        **_flat(stage.options),
    }


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by their dotted names, as a recipe calls them."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def in_data(a: ShownReport, b: ShownReport) -> Iterator[Difference]:
    """The sets of images, and how each image is prepared."""
    pairs: list[tuple[str, Any, Any]] = []
    for name in ("evaluation", "calibration", "selection"):
        old, new = getattr(a.data, name), getattr(b.data, name)
        pairs.append((f"{name} images", _set(old), _set(new)))
    views = [report.data.preprocess.model_dump(mode="json") for report in (a, b)]
    pairs += [(f"preprocessing, {key}", views[0][key], views[1][key]) for key in views[0]]
    yield from _differences(pairs)


def _set(samples: ShownSamples | None) -> str | None:
    if samples is None:
        return None
    return f"{samples.images} of {samples.dataset} ({samples.sha256[:12]}…)"


def in_environment(a: ShownReport, b: ShownReport) -> Iterator[Difference]:
    """Machine, CPU, threads and versions of packages."""
    of_data = ("calibration images", "selection images", "hand-over")
    for difference in changes(mark_of(a), mark_of(b)):
        if not difference.what.startswith(of_data):
            yield Difference(difference.what, difference.baseline, difference.now)


def _differences(pairs: list[tuple[str, Any, Any]]) -> Iterator[Difference]:
    for what, a, b in pairs:
        if a != b:
            yield Difference(what, _word(a), _word(b))


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_word, value)) or "none"
    return "none" if value is None else str(value)
