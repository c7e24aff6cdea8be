"""The candidates of `ranges: auto`: one row a range rule."""

from typing import TYPE_CHECKING

from pipeline.report.html import figure
from pipeline.report.html.figure import BLUE, INK, ORANGE, PAPER, SOFT
from pipeline.report.html.view import Rules, Tried

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_GRAPHS = {"export": (ORANGE, 0.16), "equalize": (BLUE, -0.16)}
_ROW = 40


def rules_figure(rules: Rules) -> "Markup":
    """SQNR of all candidates; the last round, on all images, is drawn large."""
    shown = [item for item in rules.tried if item.sqnr_db is not None]
    names = list(dict.fromkeys(item.rule for item in rules.tried))
    several = len({item.images for item in rules.tried}) > 1

    def paint(axes: "Axes", narrow: bool) -> None:
        for item in shown:
            _point(axes, names.index(item.rule), item, several and item.images == rules.most_images)
        axes.grid(axis="both")
        axes.set_ylim(len(names) - 0.45, -0.6)
        if narrow:
            axes.set_yticks(range(len(names)), [""] * len(names))
            for place, name in enumerate(names):
                axes.annotate(
                    figure.short(name, 30), (0, place - 0.42), xycoords=("axes fraction", "data"), color=SOFT,
                    fontsize=11, va="center",
                )  # fmt: skip
        else:
            axes.set_yticks(range(len(names)), [figure.short(name, 30) for name in names])
            axes.tick_params(axis="y", labelsize=12, labelcolor=INK)
        axes.set_xlabel("signal to noise of the logits, dB (more is better)")

    winner = rules.winner
    best = "none" if winner is None else f"{winner.rule} on {winner.graph}"
    alt = f"Signal to noise of {len(shown)} candidates by range rule; the winner is {best}"
    height = 50.0 + _ROW * len(names)
    return figure.both("rules", alt, (height, height + 10 * len(names)), paint)


def _point(axes: "Axes", row: int, item: Tried, last_round: bool) -> None:
    ratio = item.sqnr_db or 0.0
    colour, shift = _GRAPHS.get(item.graph, (SOFT, 0.0))
    marker = "o" if item.correction == "none" else "D"
    size = 10 if last_round else 6
    axes.plot(
        ratio, row + shift, marker, color=colour if last_round else PAPER, markersize=size,
        markeredgecolor=colour, markeredgewidth=1.75,
    )  # fmt: skip
    if item.won:
        axes.plot(ratio, row + shift, "o", color="none", markersize=17, markeredgecolor=INK,
                  markeredgewidth=1.5)  # fmt: skip
