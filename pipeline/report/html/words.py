"""Numbers and findings as people read them."""

from pipeline import quantities
from pipeline.report.html.view import (
    Absent,
    Analysis,
    DeviceMeasure,
    Flips,
    Rules,
    RunView,
    StageView,
    Tried,
)

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
THIN = "\N{NARROW NO-BREAK SPACE}"
_SIXTEENTH = "less than a sixteenth of the steps"


def percent(fraction: float | None) -> str:
    return NONE if fraction is None else _bound(quantities.percent(fraction))


def points(fraction: float | None) -> str:
    """A drop in points, with its sign: a loss is positive."""
    return NONE if fraction is None else _signed(quantities.points(fraction))


def decibel(ratio: float | None) -> str:
    return NONE if ratio is None else _signed(f"{ratio:.1f}{THIN}dB")


def number(value: float | None) -> str:
    """Three digits, as short as can be."""
    if value is None:
        return NONE
    return _signed(f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}")


def size(count: int | None) -> str:
    return NONE if count is None else _bound(quantities.size(count))


def seconds(value: float) -> str:
    return _bound(quantities.seconds(value))


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def headline(view: RunView) -> str:
    """The run in one word: its verdict, but `reported` where nothing was demanded, which is a PASS
    for programs only."""
    demanded = any(stage.check.required for stage in view.stages)
    verdict: str = view.report["verdict"]
    return verdict if demanded or view.report.get("failure") else "reported"


def verdict_sentence(view: RunView) -> str:
    """The run in one sentence."""
    failure = view.report.get("failure")
    if failure:
        return f"The run ended early. {_sentence(str(failure).splitlines()[0])}"
    verdict = view.report["verdict"]
    decisive = next(
        (s for s in view.stages if s.check.required and s.check.verdict == verdict), None
    )
    if verdict == "PASS" or decisive is None:
        demanded = any(stage.check.required for stage in view.stages)
        start = "Passed" if demanded else "Nothing was demanded"
        return f"{start}: {_accuracy(view)}."
    start = {"FAIL": "Failed", "UNDECIDED": "Undecided", "SKIPPED": "Not shown"}[verdict]
    return f"{start}: {_label(view, decisive)}, {_sentence(decisive.check.reason)}"


def interval_sentence(view: RunView) -> str:
    """What the images leave open of the final stage's loss; empty where there is no interval."""
    final = view.final
    if final is None or final.check.confidence_interval is None:
        return ""
    low, high = final.check.confidence_interval
    limit = "" if final.limit is None else f"; the recipe allows a loss of {100 * final.limit:.2f}"
    return (
        f"Judged from {counted(final.check.images, 'image')}, the true change lies between "
        f"{_moved(low)} and {_moved(high)} points, each end with "
        f"{_bound(quantities.confidence(final.confidence))} confidence{limit}."
    )


def noise_sentence(analysis: Analysis) -> str:
    worst = analysis.worst_alone
    if not worst:
        return "No layer makes any noise."
    first, last = worst[0], analysis.layers[-1]
    gathered = "" if last.cumulative_db is None else (
        f" At the end, with everything in integers, {decibel(last.cumulative_db)} are left."
    )  # fmt: skip
    return (
        f"Most noise by itself comes from {first.layer} ({first.operator}), "
        f"{decibel(first.alone_db)}; the median layer has {decibel(worst[len(worst) // 2].alone_db)}."
        + gathered
    )


def rules_sentence(rules: Rules) -> str:
    """Why one won: what it had, and how far the next was behind."""
    winner = rules.winner
    if winner is None:
        return "No candidate won."
    rivals = [
        item for item in rules.tried
        if not item.won and item.images == winner.images and item.sqnr_db is not None
    ]  # fmt: skip
    text = f"{candidate(winner)} won with {decibel(winner.sqnr_db)} on {winner.images} images"
    if rivals and winner.sqnr_db is not None:
        second = max(rivals, key=lambda item: item.sqnr_db or 0.0)
        ahead = winner.sqnr_db - (second.sqnr_db or 0.0)
        text += f", {decibel(ahead)} ahead of {candidate(second)}"
    return f"{text[0].upper()}{text[1:]}."


def candidate(item: Tried) -> str:
    """A candidate in words."""
    graph = {"export": "the exported graph", "equalize": "the equalized graph"}
    corrected = "" if item.correction == "none" else f" with {item.correction} bias correction"
    return f"{item.rule} on {graph.get(item.graph, item.graph)}{corrected}"


def concat_sentence(analysis: Analysis) -> str:
    found = analysis.narrow
    total = sum(len(concat.branches) for concat in analysis.concats)
    if not found:
        return (
            f"All {total} branches of {counted(len(analysis.concats), 'concatenation')} span at least "
            "a sixteenth of their result's steps."
        )
    concat, branch = found[0]
    return (
        f"{len(found)} of {total} branches get "
        f"{_SIXTEENTH}; the narrowest is {branch.tensor} in {concat.name} with "
        f"{branch.steps:.0f} of {concat.levels}."
    )


def flips_sentence(flips: Flips) -> str:
    counts = flips.counts
    return (
        f"On {flips.total} of {counted(flips.images, 'image')} the {inside(flips.stage)} predicts another class than the "
        f"float model: {counts['lost']} became wrong, {counts['gained']} became right, and "
        f"{counts['changed']} changed from one wrong class to another."
    )


def device_sentence(device: DeviceMeasure) -> str:
    low, high = device.interval
    return (
        f"With pictures prepared as the board's own program does it, top-1 is "
        f"{percent(device.device_top1)} instead of {percent(device.model_top1)} on "
        f"{counted(device.images, 'image')}: {_moved(device.gap)} points by the view alone, between "
        f"{_moved(low)} and {_moved(high)}, each end with "
        f"{_bound(quantities.confidence(device.confidence))} confidence. That is no fault of the "
        "conversion and no part of its verdict."
    )


def is_absent(value: object) -> bool:
    """For templates: whether a section has a reason in the place of its data."""
    return isinstance(value, Absent)


def _accuracy(view: RunView) -> str:
    final = view.final
    if final is None or final.check.top1 is None:
        return "no accuracy was measured"
    means = {"measured": "is", "board": "is, on the board,", "predicted": "is predicted to be"}
    text = (
        f"the {_label(view, final)} {means[final.check.evidence]} right on "
        f"{percent(final.check.top1)} of {counted(final.check.images, 'image')}"
    )
    drop = final.check.top1_drop
    if drop is None or final is view.reference:
        return text
    if drop == 0:
        return f"{text}, as is the float model"
    return (
        f"{text}, {abs(100 * drop):.2f} points {'below' if drop > 0 else 'above'} the float model"
    )


def _label(view: RunView, stage: StageView) -> str:
    return inside(view.labels.get(stage.name, stage.name))


def inside(label: str) -> str:
    """A stage's label inside a sentence."""
    return label if label.startswith("SyNAP") else label[:1].lower() + label[1:]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _moved(drop: float) -> str:
    """A drop in words in which nobody has to know what a negative loss is."""
    return f"a {'gain' if drop < 0 else 'loss'} of {100 * abs(drop):.2f}"


def _bound(text: str) -> str:
    """A number that is not torn from its unit."""
    return text.replace(" ", THIN)


def _signed(text: str) -> str:
    return text.replace("-", MINUS, 1) if text.startswith("-") else text
