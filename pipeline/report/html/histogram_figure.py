"""A tensor's values as calibration saw them, and the range that its integers cover."""

from typing import TYPE_CHECKING

from pipeline.report.html import figure
from pipeline.report.html.figure import BLUE, ORANGE, SOFT
from pipeline.report.html.view import TensorHistogram

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

SIZE = (328, 170)


def histogram_figure(number: int, seen: TensorHistogram) -> "Markup":
    """Counts on a logarithmic scale, so that the few values that set a range can be seen."""

    def paint(axes: "Axes") -> None:
        low, high = seen.low, seen.high
        least, most = low - seen.scale / 2, high + seen.scale / 2
        ends = zip(seen.edges, seen.edges[1:], strict=False)
        clipped = [right < least or left > most for left, right in ends]
        inside = [0.0 if out else n for n, out in zip(seen.counts, clipped, strict=True)]
        beyond = [n if out else 0.0 for n, out in zip(seen.counts, clipped, strict=True)]
        axes.axvspan(low, high, color=BLUE, alpha=0.12, linewidth=0)
        for end in (low, high):
            axes.axvline(end, color=BLUE, linewidth=1.5)
        axes.stairs(inside, seen.edges, fill=True, color=SOFT, alpha=0.75, linewidth=0)
        axes.stairs(beyond, seen.edges, fill=True, color=ORANGE, linewidth=0)
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(bottom=0.7)
        axes.set_yticks([])
        axes.minorticks_off()
        left, right = min(seen.minimum, low), max(seen.maximum, high)
        margin = 0.03 * (right - left)
        axes.set_xlim(left - margin, right + margin)

    alt = (
        f"Histogram of {seen.tensor}: values from {seen.minimum:.3g} to {seen.maximum:.3g}, "
        f"integers cover {seen.low:.3g} to {seen.high:.3g}"
    )
    return figure.one(f"histogram-{number}", alt, SIZE, paint)
