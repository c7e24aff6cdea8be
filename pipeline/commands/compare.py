"""`pipeline compare`: two runs side by side."""

import json
from pathlib import Path
from typing import Annotated

import typer

_RUN = "A results folder, artifacts/<recipe>/<target>, or its report.json."


def compare(
    a: Annotated[Path, typer.Argument(help=_RUN)],
    b: Annotated[Path, typer.Argument(help=_RUN)],
    html: Annotated[
        Path | None, typer.Option(metavar="file", help="Write a page to this file, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show two runs side by side, and in what they differ. Nothing is judged.

    \b
    pipeline compare artifacts/a/sl1680 artifacts/b/sl1680
    pipeline compare old/report.json artifacts/a/sl1680 --html both.html
    """
    from pipeline.report.compare_runs import compare_runs
    from pipeline.report.compare_view import print_comparison, write_page
    from pipeline.report.whole_lines import print_whole

    comparison = compare_runs(a, b)
    if html is not None:
        write_page(comparison, html)
    if as_json:
        typer.echo(json.dumps(comparison.to_json(), indent=1))
        return
    print_whole(lambda console: print_comparison(comparison, console))
    if html is not None:
        typer.echo(str(html))
