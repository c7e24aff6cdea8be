"""From findings to the text of a recipe; every value is written so that YAML reads it back."""

import os
import re
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.init.findings import Findings
from pipeline.inspect.printable import printable

TEMPLATE = "recipe.yaml.j2"
WIDTH = 100
LONGEST_COMMENT = 600
_PLAIN = re.compile(r"(\.{0,2}/)*[A-Za-z_][A-Za-z0-9_./-]*")


def render_recipe(findings: Findings, given: str, out: Path) -> str:
    """The recipe as it is to stand in `out`; `given` is how the user called the model.

    Paths in it are relative where those that were given are, so that a folder with recipe, model and
    images can be moved. Raises UsageError for a path that cannot stand in a text.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # not HTML; everything goes through `scalar` or `comment`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(scalar=scalar, comment=comment, points=_points, printable=_line)
    model, images = findings.model, findings.images
    return environment.get_template(TEMPLATE).render(
        found=findings,
        model=model,
        images=images,
        view=model.view.preprocess,
        weights=None if model.file is None else path_in_recipe(model.file, out),
        folder=None if images.folder is None else path_in_recipe(images.folder, out),
        command=shlex.join(["pipeline", "init", given]),
        run=f"make convert CONFIG={shlex.quote(str(out))} TARGET=sl1680"
        + ("" if images.folder else " DATA=/path/to/images"),
    )


def path_in_recipe(path: Path, out: Path) -> str:
    """The path as the recipe in `out` has to say it. Raises UsageError if it is no text."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            "its name is not UTF-8, so no recipe can say it",
            where=printable(str(path)),
            hint="rename the file",
        ) from None
    if path.is_absolute():
        return str(path)
    folder = out.parent.resolve()
    place = path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()
    return os.path.relpath(place, folder)


def scalar(value: Any) -> str:
    """A number, truth value or text within a flow collection, as YAML reads it back."""
    import yaml

    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
            return value
        return str(
            yaml.safe_dump(
                value, default_style='"', width=sys.maxsize, allow_unicode=value.isprintable()
            )
        ).rstrip("\n")
    if isinstance(value, tuple):
        return f"[{', '.join(map(scalar, value))}]"
    return str(yaml.safe_dump(value)).split("\n")[0]


def comment(text: str, indent: int = 0, bullet: str = "") -> str:
    """The text as lines of comments, whatever is in it; behind a bullet they stand in line."""
    lead = " " * indent + "# "
    lines = textwrap.wrap(
        printable(text, LONGEST_COMMENT),
        WIDTH - len(lead),
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(lead + line for line in lines)


def _line(text: str) -> str:
    """Without a line break, however long it is."""
    return printable(text, len(text))


def _points(fraction: float) -> str:
    return f"{100 * fraction:.3g}"
