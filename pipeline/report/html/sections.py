"""Which sections a page has: those that have something to say of this run."""

from pipeline.report.html.view import Absent, Analysis, RunView

_TITLES = {
    "accuracy": "Accuracy",
    "noise": "Where it was lost",
    "ranges": "Ranges",
    "rules": "Rules tried",
    "concats": "Concatenations",
    "flips": "Flipped images",
    "views": "The board\N{RIGHT SINGLE QUOTATION MARK}s view",
    "cost": "Cost",
    "data": "Data",
    "environment": "Environment",
}
"""By the ids of the template, in its order."""


def sections_of(view: RunView) -> dict[str, str]:
    """The ids of the page's sections, and what its list of them calls them."""
    missing = {
        "noise": _left_out(view.analysis),
        "ranges": _left_out(view.analysis),
        "rules": _left_out(view.rules),
        "concats": _left_out(view.analysis),
        "flips": _left_out(view.flips),
    }
    if isinstance(view.analysis, Analysis):
        missing["ranges"] = not view.analysis.histograms
        missing["concats"] = not view.analysis.concats
    return {name: title for name, title in _TITLES.items() if not missing.get(name)}


def _left_out(part: object) -> bool:
    return isinstance(part, Absent) and part.left_out
