"""Jinja2 templates of this package, in which everything is escaped that is not said to be safe.

In `*.html.j2` by Jinja2 itself, in `*.md.j2` by `plain`. What is to be written as it is has the
type `Verbatim` in Markdown and `Markup` in HTML.
"""

import html
import re
from pathlib import Path
from typing import Any

from pipeline import quantities

TEMPLATES = Path(__file__).parent / "templates"
_SPECIAL = re.compile(r"([\\`*_\[\]|~$!])")
_REFERENCE = re.compile(r"([@#])(?=\w)")


class Verbatim(str):
    """A text for Markdown that is markup itself, or stands where nothing is markup."""


def plain(text: object) -> str:
    """The text on one line, with everything escaped that means something in Markdown or HTML."""
    if isinstance(text, Verbatim):
        return text
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    escaped = _SPECIAL.sub(r"\\\1", html.escape(line, quote=False))
    # `@name` and `#1` are looked for in what was rendered, where an escaped one looks the same.
    return _REFERENCE.sub(r"\1<!-- -->", escaped)


def render(template: str, **values: Any) -> str:
    """The text of a template; a value that the template needs and does not get is an error."""
    import jinja2

    markdown = template.endswith(".md.j2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=not markdown,
        finalize=plain if markdown else None,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for shown in (quantities.percent, quantities.confidence, quantities.points):
        environment.filters[shown.__name__] = shown
    return environment.get_template(template).render(**values)
