"""How many steps of a concatenation's scale each of its branches spans."""

import math
from typing import TYPE_CHECKING

from pipeline.report.html import figure
from pipeline.report.html.figure import BLUE, INK, LINE, ORANGE, PAPER, SOFT
from pipeline.report.html.view import Analysis

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_ROW = 24


def concat_figure(analysis: Analysis) -> "Markup":
    """A row for every concatenation and a point for every branch, on a logarithmic scale."""
    rows = analysis.concats
    levels = max(concat.levels for concat in rows)
    fewest = min(branch.steps for concat in rows for branch in concat.branches)
    # Far enough down for the narrowest branch, and for a glimpse of where it would be too narrow.
    start = 2.0 ** math.floor(math.log2(max(min(fewest, levels / 32), 1.0)))

    def paint(axes: "Axes", narrow: bool) -> None:
        axes.axvspan(start, levels / 16, color=ORANGE, alpha=0.12, linewidth=0)
        for place, concat in enumerate(rows):
            steps = [max(branch.steps, start) for branch in concat.branches]
            axes.plot([min(steps), max(steps)], [place] * 2, color=LINE, linewidth=2, zorder=1)
            for step in steps:
                narrow_branch = 16 * step < concat.levels
                axes.plot(
                    step, place, "o", color=ORANGE if narrow_branch else BLUE, markersize=7,
                    alpha=0.85, markeredgecolor=PAPER,
                )  # fmt: skip
        axes.set_xscale("log", base=2)
        ticks = [2**power for power in range(17) if start <= 2**power <= levels + 1]
        shown = ticks[::-2][::-1] if narrow or len(ticks) > 10 else ticks
        axes.set_xticks(shown, [str(tick) for tick in shown])
        axes.minorticks_off()
        axes.set_xlim(start, 1.12 * levels)
        axes.grid(axis="x")
        names = [figure.short(concat.name, 12 if narrow else 30) for concat in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(
            axis="y", labelsize=10 if narrow else 11, labelcolor=INK if not narrow else SOFT
        )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"steps that a branch spans, of {levels}")

    alt = f"Steps spanned by the branches of {len(rows)} concatenations; " + (
        f"{len(analysis.narrow)} of them less than a sixteenth of the scale"
    )
    height = 55.0 + _ROW * len(rows)
    return figure.both("concat", alt, (height, height), paint)
