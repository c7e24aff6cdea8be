"""What every stage has lost against the float export, with what the images leave open."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.report.html import figure
from pipeline.report.html.figure import BLUE, GREEN, INK, LINE, ORANGE, PAPER, SOFT
from pipeline.report.html.view import StageView

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_COLOURS = {"PASS": GREEN, "FAIL": ORANGE, "UNDECIDED": ORANGE, "SKIPPED": BLUE}
_ROW = 44


def accuracy_figure(stages: Sequence[StageView], labels: Mapping[str, str]) -> "Markup | None":
    """A row for every stage with an interval; None where there is none."""
    rows = [stage for stage in stages if stage.check.confidence_interval is not None]
    if not rows:
        return None

    def paint(axes: "Axes", narrow: bool) -> None:
        for place, stage in enumerate(rows):
            _row(axes, place, stage)
        axes.axvline(0, color=SOFT, linewidth=1, zorder=1)
        axes.grid(axis="x")
        names = [figure.short(labels.get(stage.name, stage.name), 30) for stage in rows]
        if narrow:
            axes.set_yticks([])
            for place, text in enumerate(names):
                axes.annotate(
                    text, (0, place), (0, 13), xycoords=("axes fraction", "data"),
                    textcoords="offset points", color=SOFT, fontsize=11, va="center",
                )  # fmt: skip
        else:
            axes.set_yticks(range(len(rows)), names)
            axes.tick_params(axis="y", labelsize=12, labelcolor=INK)
        axes.set_ylim(len(rows) - 0.4, -0.75)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.1), max(high, 0.1))
        axes.set_xlabel("points of top-1 lost (left of zero: gained)")

    alt = "Loss of top-1 by stage: " + "; ".join(_sentence(stage, labels) for stage in rows)
    height = 62.0 + _ROW * len(rows)
    return figure.both("accuracy", alt, (height, height + 10), paint)


def _row(axes: "Axes", place: int, stage: StageView) -> None:
    low, high = stage.check.confidence_interval or (0.0, 0.0)
    drop = stage.check.top1_drop or 0.0
    colour = _COLOURS[stage.check.verdict] if stage.check.required else BLUE
    axes.plot([100 * low, 100 * high], [place] * 2, color=colour, linewidth=5, alpha=0.45,
              solid_capstyle="round")  # fmt: skip
    axes.plot(100 * drop, place, "o", color=colour, markersize=9, markeredgecolor=PAPER)
    if stage.limit is not None:
        axes.plot([100 * stage.limit] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=2)
        axes.annotate(
            "limit", (100 * stage.limit, place - 0.32), (0, 3), textcoords="offset points",
            ha="center", fontsize=10, color=SOFT,
        )  # fmt: skip
    axes.axhline(place, color=LINE, linewidth=0.5, zorder=0)


def _sentence(stage: StageView, labels: Mapping[str, str]) -> str:
    low, high = stage.check.confidence_interval or (0.0, 0.0)
    drop = 100 * (stage.check.top1_drop or 0.0)
    return (
        f"{labels.get(stage.name, stage.name)} {drop:+.2f} points, between {100 * low:+.2f} and "
        f"{100 * high:+.2f}"
    )
