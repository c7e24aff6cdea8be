"""Numbers as people read them, the same in every output.

Texts of plain characters, for terminals, Markdown and reasons; `report/html/words.py` sets them for
a page. Accuracies are fractions, as everywhere, and are shown in percent; drops in points.
"""


def percent(fraction: float) -> str:
    """An accuracy: 0.946 is "94.60 %"."""
    return f"{100 * fraction:.2f} %"


def confidence(fraction: float) -> str:
    """A confidence with as many digits as it has: 0.95 is "95 %", 0.975 is not "98 %"."""
    return f"{100 * fraction:.12g} %"


def points(fraction: float) -> str:
    """A drop or a change with its sign, but nothing is neither lost nor gained: "0.00"."""
    text = f"{100 * fraction:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def size(count: float) -> str:
    """Bytes: "41.4 MB"."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def seconds(value: float) -> str:
    """A time: "9.4 s", "3.6 min", "2.1 h"."""
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"
