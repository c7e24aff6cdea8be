"""`pipeline gate`: a run against its baseline."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import (
    AsJson,
)


def gate(
    report: Annotated[Path, typer.Argument(help="The report.json of a run.")],
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="file", help="What to compare with. Default: configs/baselines/<recipe>.json."
        ),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Make this run the baseline of its target.")
    ] = False,
    accept_failed: Annotated[
        bool, typer.Option("--accept-failed", help="The same, even if it failed its own checks.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="file", help="Write JUnit XML to this file.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="file", help="Write Markdown to this file.")
    ] = None,
    max_top1_loss: Annotated[
        float,
        typer.Option(metavar="x", help="Top-1 that a model may lose, a fraction of the images."),
    ] = 0.005,
    max_drop_rise: Annotated[
        float,
        typer.Option(metavar="x", help="How much the drop may grow, a fraction of the images."),
    ] = 0.005,
    max_size_ratio: Annotated[
        float, typer.Option(metavar="x", help="How many times its size a file may have.")
    ] = 1.1,
    max_time_ratio: Annotated[
        float, typer.Option(metavar="x", help="How many times as long a stage may take.")
    ] = 2.0,
    max_latency_ratio: Annotated[
        float,
        typer.Option(metavar="x", help="How many times as long an image may take on a board."),
    ] = 1.1,
    any_cpu: Annotated[
        bool, typer.Option("--any-cpu", help="Compare integer models across kinds of CPU.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a run with the committed baseline.

    \b
    pipeline gate artifacts/inception_v4_digits/sl1680/report.json
    pipeline gate report.json --baseline old.json --junit out.xml
    pipeline gate report.json --accept

    Exit codes: 0 nothing is worse, 1 something is, or a failed run was not accepted,
    2 not comparable, 3 a file is missing or damaged.
    """
    from pipeline.regression.gate import run_gate
    from pipeline.regression.result import Limits
    from pipeline.report.gate_view import print_gate
    from pipeline.report.whole_lines import print_whole

    result = run_gate(
        report,
        baseline,
        accept_it=accept or accept_failed,
        even_failed=accept_failed,
        limits=Limits(
            max_top1_loss, max_drop_rise, max_size_ratio, max_time_ratio, max_latency_ratio
        ),
        any_cpu=any_cpu,
        junit=junit,
        markdown=markdown,
    )
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        print_whole(lambda console: print_gate(result, console))
    raise typer.Exit(result.exit_code)
