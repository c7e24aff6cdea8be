"""From a `RunView` to the page. All texts are escaped; only our own drawings and styles are not."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.report.html import words
from pipeline.report.html.sections import sections_of
from pipeline.report.html.view import Absent, RunView

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

TEMPLATES = Path(__file__).parents[1] / "templates"
PAGE, STYLE = "report.html.j2", "report.css"
WORST = 10
"""Layers of the table of the worst."""


def render_page(view: RunView) -> str:
    """The whole page as HTML."""
    from markupsafe import Markup

    style = Markup((TEMPLATES / STYLE).read_text(encoding="utf-8"))
    page = _environment().get_template(PAGE)
    sections = sections_of(view)
    return page.render(
        view=view, sections=sections, style=style, worst=WORST, **_figures(view)
    )  # fmt: skip


def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["absent"] = words.is_absent
    for function in (
        words.percent, words.points, words.decibel, words.number, words.size, words.seconds,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    environment.filters["code"] = _code
    environment.globals["words"] = words
    return environment


def _code(text: str) -> "Markup":
    """Escaped text, in which backticks are commands."""
    from markupsafe import Markup

    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else Markup("{}").format(part)
        for place, part in enumerate(parts)
    )


def _figures(view: RunView) -> dict[str, Any]:
    from pipeline.report.html.accuracy_figure import accuracy_figure
    from pipeline.report.html.concat_figure import concat_figure
    from pipeline.report.html.histogram_figure import histogram_figure
    from pipeline.report.html.noise_figure import noise_figure
    from pipeline.report.html.rules_figure import rules_figure

    figures: dict[str, Any] = {
        "accuracy": accuracy_figure(view.stages, view.labels),
        "noise": None,
        "histograms": [],
        "concats": None,
        "rules": None,
    }
    if not isinstance(view.analysis, Absent):
        if view.analysis.layers:
            figures["noise"] = noise_figure(view.analysis)
        figures["histograms"] = [
            histogram_figure(number, seen) for number, seen in enumerate(view.analysis.histograms)
        ]
        if view.analysis.concats:
            figures["concats"] = concat_figure(view.analysis)
    if not isinstance(view.rules, Absent):
        figures["rules"] = rules_figure(view.rules)
    return {"figures": figures}
