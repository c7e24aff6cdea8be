"""`pipeline card`: write the model card of a results folder again, or hold it against the files."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def card(
    folder: Annotated[Path, typer.Argument(help="A results folder: artifacts/<recipe>/<target>.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Change nothing; hold the card against its artifacts.")
    ] = False,
    threads: Annotated[
        int, typer.Option(metavar="n", help="Threads to compute with; 0: all cores.", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Write the model card of a run's results, or verify it.

    With --verify, exit code 1 where the card says what is not so.

    \b
    pipeline card artifacts/inception_v4_digits/sl1680 --verify
    """
    from pipeline.process import cores

    threads = threads or cores()
    if not verify:
        from pipeline.report.card import write_card

        path = write_card(folder, threads)
        typer.echo(json.dumps({"card": str(path)}) if as_json else str(path))
        return
    from pipeline.report.card_check import check_card

    found = check_card(folder, threads)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        raise typer.Exit(found.exit_code)
    for line in found.faults:
        typer.echo(f"wrong: {line}")
    for line in found.notes:
        typer.echo(f"note: {line}")
    outcome = "does not hold" if found.faults else "holds"
    typer.echo(f"{found.card}: {outcome}")
    raise typer.Exit(found.exit_code)
