"""Compare what a run gave with what was accepted, quantity by quantity.

Accuracy. Both runs saw the same images (anything else is refused before), but the files hold only
how many of them were right, not which, so the paired statistics of `check/gate.py` are out of
reach. Two rules take their place, by what is known of the artifacts:

- *The same file on the same images* has to give the same result to the image: inference is
  deterministic, there is no sampling error, and one image less is a change of the machine or of a
  library that somebody has to know of. No loss is allowed.
- *Another file on the same images* (retrained, requantized) may lose up to a stated fraction of
  these very images. An interval for two independent samples (Newcombe, Statistics in Medicine 17,
  1998, 873-890) would not fit: it allows for two draws of images, where there was one, and so lets
  2.6 points pass unnoticed at 90 % accuracy, 1000 images and 95 % confidence. How sure the drop is for images that nobody
  looked at is the business of the run's own check, whose interval is paired. The gate's statement
  is about the images at hand, and its tolerance is a policy, not an estimate.

The float model, each model behind it, and the gap between them are held separately: a float model
that gains what quantization loses would else hide it. A gain never fails.

Size and time are judged by ratio, and so is the time of an image where the model was run on a
board. The time that a stage took only on the same machine with the same threads, and a
difference of less than a second is none, whatever its ratio.
"""

from collections.abc import Iterator, Mapping

from pipeline.regression.baseline import MachineMark, StageMark, TargetMark
from pipeline.regression.likeness import cpu_kind
from pipeline.regression.report_file import REFERENCE, Report
from pipeline.regression.result import Limits, Quantity, Row, RowVerdict

TIME_SLACK = 1.0
"""Seconds."""
_ROUNDING = 1e-9
"""Of differences of fractions; one image in millions is a thousand times as much."""
OPTIONAL = ("equalize",)
"""Stages that a recipe can do without."""


def compare(before: TargetMark, now: TargetMark, report: Report, limits: Limits) -> tuple[Row, ...]:
    """A row for every quantity of every stage; `now` is the mark of `report`, which also says why
    a stage was skipped. Both have to be alike (`likeness.py`)."""
    return tuple(_rows(before, now, report, limits))


def _rows(before: TargetMark, now: TargetMark, report: Report, limits: Limits) -> Iterator[Row]:
    same_files = _same_files(before, now)
    # Lengths of time say something only about one and the same machine.
    elsewhere = _elsewhere(before.measured_on, now.measured_on)
    # In the order of the chain, which the baseline's sorted keys do not keep.
    order = [stage.name for stage in report.stages]
    names = [name for name in order if name in before.stages or name in now.stages]
    for name in (*names, *(name for name in before.stages if name not in order)):
        old, new = before.stages.get(name), now.stages.get(name)
        if new is None:
            yield _missing(report, name, before.stages[name].bytes)
        elif old is None:
            reason = "the baseline does not have it; --accept to hold it from now on"
            yield Row(name, "stage", None, new.bytes, None, "SKIPPED", reason)
        else:
            yield _top1(name, old, new, same_files[name], limits)
            if name != REFERENCE:
                same = same_files[name] and same_files.get(REFERENCE, False)
                yield _drop(name, old, new, same, limits)
            yield _size(name, old, new, limits)
            yield _time(name, old, new, elsewhere, limits)
            if old.latency_ms is not None:
                yield _latency(name, old.latency_ms, new.latency_ms, limits)


def _same_files(before: TargetMark, now: TargetMark) -> Mapping[str, bool]:
    """For each stage of both, whether the exact rule holds: the same bytes, and integer results
    that a CPU of the same kind gave."""
    same_cpu = cpu_kind(before.measured_on) == cpu_kind(now.measured_on)
    return {
        name: same_cpu and old.sha256 == now.stages[name].sha256
        for name, old in before.stages.items()
        if name in now.stages
    }


def _missing(report: Report, name: str, size: int) -> Row:
    """A stage that the baseline has and this run has not. That a recipe leaves out what is optional
    is its choice, whose consequences the other rows judge."""
    stage = report.stage(name)
    verdict: RowVerdict
    if stage is not None:
        verdict, reason = "FAIL", f"was skipped: {stage.check.reason}"
    elif report.failure is not None:
        verdict, reason = "FAIL", f"the run failed before it: {report.failure.splitlines()[0]}"
    elif name in OPTIONAL:
        verdict, reason = "SKIPPED", "the recipe has no such stage any more"
    else:
        verdict, reason = "FAIL", "the baseline has it, and this run did not come to it"
    return Row(name, "stage", size, None, None, verdict, reason)


def _top1(name: str, old: StageMark, new: StageMark, same_file: bool, limits: Limits) -> Row:
    loss = None if old.top1 is None or new.top1 is None else old.top1 - new.top1
    return _accuracy(
        name, "top1", (old.top1, new.top1), loss, old.images, same_file, limits.max_top1_loss
    )


def _drop(name: str, old: StageMark, new: StageMark, same_files: bool, limits: Limits) -> Row:
    drops = old.top1_drop, new.top1_drop
    loss = None if drops[0] is None or drops[1] is None else drops[1] - drops[0]
    return _accuracy(
        name, "top1_drop", drops, loss, old.images, same_files, limits.max_drop_rise
    )  # fmt: skip


def _accuracy(
    name: str,
    quantity: Quantity,
    values: tuple[float | None, float | None],
    loss: float | None,
    images: int,
    same_file: bool,
    tolerance: float,
) -> Row:
    if loss is None:
        if values[0] is None:
            return Row(name, quantity, *values, None, "SKIPPED", "the baseline has no such number")
        return Row(name, quantity, *values, None, "FAIL", "was measured before, and is not now")
    limit = 0.0 if same_file else tolerance
    held = loss <= limit + _ROUNDING
    allowed = "the same file may lose none" if same_file else f"{_points(limit)} allowed"
    if abs(loss) <= _ROUNDING:
        reason = "no change"
    else:
        reason = f"{_changed(quantity, loss, images)}; {allowed}"
    return Row(name, quantity, *values, limit, "PASS" if held else "FAIL", reason)


def _changed(quantity: Quantity, loss: float, images: int) -> str:
    count = round(abs(loss) * images)
    counted = f"{count} image{'' if count == 1 else 's'} of {images}"
    words = ("fewer right", "more right") if quantity == "top1" else ("larger gap", "smaller gap")
    return f"{words[loss < 0]} by {_points(abs(loss))} ({counted})"


def _size(name: str, old: StageMark, new: StageMark, limits: Limits) -> Row:
    limit = limits.max_size_ratio
    held = new.bytes <= old.bytes * limit
    reason = f"{_ratio(old.bytes, new.bytes)}; {limit:g} times allowed"
    return Row(name, "bytes", old.bytes, new.bytes, limit, "PASS" if held else "FAIL", reason)


def _time(name: str, old: StageMark, new: StageMark, elsewhere: str | None, limits: Limits) -> Row:
    limit = limits.max_time_ratio
    if elsewhere is not None:
        return Row(name, "seconds", old.seconds, new.seconds, None, "SKIPPED", elsewhere)
    reason = f"{_ratio(old.seconds, new.seconds)}; {limit:g} times allowed"
    held = new.seconds <= max(old.seconds * limit, old.seconds + TIME_SLACK)
    return Row(name, "seconds", old.seconds, new.seconds, limit, "PASS" if held else "FAIL", reason)


def _latency(name: str, old: float, new: float | None, limits: Limits) -> Row:
    if new is None:
        reason = "was measured before, and is not now"
        return Row(name, "latency_ms", old, None, None, "FAIL", reason)
    limit = limits.max_latency_ratio
    reason = f"{_ratio(old, new)}; {limit:g} times allowed"
    return Row(
        name, "latency_ms", old, new, limit, "PASS" if new <= old * limit else "FAIL", reason
    )


def _elsewhere(before: MachineMark, now: MachineMark) -> str | None:
    if before.machine != now.machine or set(before.cpu_features) != set(now.cpu_features):
        return "measured on another kind of machine"
    if before.threads != now.threads:
        return f"measured with {before.threads} threads, and now with {now.threads}"
    return None


def _ratio(old: float, new: float) -> str:
    return f"{new / old:.2f} times" if old else f"from nothing to {new:g}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f} points"
