"""Signal to noise by layer, in graph order: what each adds, and what has gathered."""

from typing import TYPE_CHECKING

from pipeline.report.html import figure
from pipeline.report.html.figure import BLUE, INK, ORANGE, SOFT
from pipeline.report.html.view import Analysis, LayerRow

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

MARKED = 3
"""How many of the worst layers are marked; the worst is named in the drawing."""


def noise_figure(analysis: Analysis) -> "Markup":
    """A point for every layer, and a line for what has gathered up to it."""
    rows = analysis.layers
    places = {row.layer: place for place, row in enumerate(rows)}
    worst = analysis.worst_alone[:MARKED]

    def paint(axes: "Axes", narrow: bool) -> None:
        alone = [(i, row.alone_db) for i, row in enumerate(rows) if row.alone_db is not None]
        together = [
            (i, row.cumulative_db) for i, row in enumerate(rows) if row.cumulative_db is not None
        ]
        axes.plot(*_columns(together), color=BLUE, linewidth=2, label="everything up to here")
        axes.plot(
            *_columns(alone), "o", color=ORANGE, markersize=3.5 if narrow else 5, alpha=0.8,
            markeredgewidth=0, label="this layer alone",
        )  # fmt: skip
        for row in worst:
            point = places[row.layer], row.alone_db or 0.0
            axes.plot(*point, "o", color=ORANGE, markersize=8, markeredgecolor=INK, zorder=5)
        axes.grid(axis="y")
        axes.set_xlim(-0.02 * len(rows) - 0.5, 1.02 * len(rows) - 0.5)
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.2 * (high - low), high)  # room for a name below all points
        if worst:
            _name(axes, places[worst[0].layer], worst[0], len(rows), 20 if narrow else 40)
        axes.set_xlabel("layers, from the input to the logits")
        axes.set_ylabel("signal to noise, dB")
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderpad=0,
            labelcolor=SOFT, fontsize=10.5 if narrow else 12, handlelength=1.2,
            handletextpad=0.5, columnspacing=1.2, borderaxespad=0.4,
        )  # fmt: skip

    named = ", ".join(f"{row.layer} {row.alone_db:.1f} dB" for row in worst)
    alt = f"Signal to noise of {len(rows)} layers; the worst alone: {named or 'none makes noise'}"
    return figure.both("noise", alt, (360, 300), paint)


def _name(axes: "Axes", place: int, row: LayerRow, count: int, limit: int) -> None:
    """Write the layer's name below all points, on the inner side."""
    left = place > count / 2
    axes.annotate(
        figure.short(row.layer, limit), (place, row.alone_db or 0.0), (-10 if left else 10, 12),
        textcoords=("offset points", "axes points"), ha="right" if left else "left", va="center",
        fontsize=12, color=INK,
        arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 1.0, "shrinkB": 5},
    )  # fmt: skip


def _columns(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
