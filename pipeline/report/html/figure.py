"""Matplotlib's drawings as SVG that belongs to the page: its type, and its colours in light and dark.

A figure is painted twice, for wide and for narrow screens, and the style sheet shows the one that
fits, so that no text has to shrink. Colours are roles: each is drawn in a colour of its own, in
whose place the SVG gets the style sheet's variable.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from pipeline.inspect.printable import printable

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, LINE = "#0a0a01", "#0a0a02", "#0a0a03"
BLUE, ORANGE, GREEN, PAPER = "#0a0a04", "#0a0a05", "#0a0a06", "#0a0a07"
_ROLES = {
    INK: "ink", SOFT: "soft", LINE: "line", BLUE: "blue", ORANGE: "orange", GREEN: "green",
    PAPER: "paper",
}  # fmt: skip
WIDE, NARROW = 760, 328
"""Pixels; text has its size at these widths."""
_DOTS = 72
_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 12.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
    "grid.color": LINE,
    "grid.linewidth": 0.75,
    "legend.edgecolor": LINE,
    "legend.facecolor": PAPER,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": False,
}
Painter = Callable[["Axes", bool], None]
"""Draws into axes; told whether they are narrow."""


def short(name: str, limit: int) -> str:
    """A name that comes out of a file, fit to be drawn: of a long one its end, which tells more."""
    fit = printable(name, limit=1000)
    return fit if len(fit) <= limit else f"…{fit[1 - limit :]}"


def both(name: str, alt: str, height: tuple[float, float], paint: Painter) -> "Markup":
    """A figure for wide and for narrow screens; `height` in pixels, for each of them."""
    from markupsafe import Markup

    wide = one(f"{name}-wide", alt, (WIDE, height[0]), lambda axes: paint(axes, False))
    narrow = one(f"{name}-narrow", alt, (NARROW, height[1]), lambda axes: paint(axes, True))
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def one(
    name: str, alt: str, size: tuple[float, float], paint: "Callable[[Axes], None]"
) -> "Markup":
    """One drawing of so many pixels; `name` is unique on the page and `alt` says what is seen."""
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(size[0] / _DOTS, size[1] / _DOTS), layout="constrained")
        paint(figure.subplots())
        text = _svg(figure)
    return Markup(_themed(text, name, alt))


def _svg(figure: "Figure") -> str:
    stream = io.StringIO()
    # Not the sizes that text has in Matplotlib's font: the page's own is narrower.
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _themed(text: str, name: str, alt: str) -> str:
    ElementTree.register_namespace("", _SVG)
    # Matplotlib's own output, made just now: nothing a stranger could have put entities into.
    root = ElementTree.fromstring(text)
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata":
            root.remove(child)
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{{{_SVG}}}style":  # would hold for the whole page
                parent.remove(child)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF).replace("#", f"#{name}-", 1))
        for key, value in element.attrib.items():
            element.set(key, value.replace("url(#", f"url(#{name}-"))
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": printable(alt, limit=2000)})
    svg = ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{_SVG}"', "", 1)
    for colour, role in _ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg
