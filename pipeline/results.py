"""The results folder of a target: its report, its page, and the bundle with what belongs to it.

The results of a run that failed take the place of those of an earlier one that passed: else a CI step
that looks at them whatever happened would take yesterday's PASS for today's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path, publish, write_text
from pipeline.engine import TargetResult
from pipeline.errors import PipelineError
from pipeline.job import Job
from pipeline.report.card import CARD, write_card
from pipeline.report.html.write import FILE as PAGE
from pipeline.report.html.write import write_report
from pipeline.report.json_report import build_report
from pipeline.report.report_read import REPORT
from pipeline.report.terminal import Terminal
from pipeline.stages import compile
from pipeline.store import Store
from pipeline.synap.handover import Handover
from pipeline.system_errors import system_errors_explained

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets


@dataclass(frozen=True)
class Written:
    """What is in a results folder: the report as JSON data, its page, and the bundle if there is
    one."""

    report: dict[str, Any]
    page: Path
    bundle: Path | None


def write_results(
    job: Job,
    result: TargetResult,
    samples: "SampleSets",
    handover: Handover,
    store: Store,
    terminal: Terminal,
) -> Written | None:
    """Put a target's results into its folder.

    Where it failed, those of an earlier run are removed first, whatever comes of writing its own.
    None where there are none: no stage was finished, or what made the run fail (a full disk) keeps
    them from being written, too. Raises PipelineError where those of a run that did not fail cannot
    be written.
    """
    folder = _results_folder(job, result)
    try:
        with (
            system_errors_explained(f"writing the results to {folder}", job.artifacts),
            store.lock(f"results-{job.recipe.name}-{folder.name}"),
            terminal.bar(f"results of {folder.name}", 0),
        ):
            if result.failure is not None:
                _remove(folder)
            if not result.stages:
                return None
            report = build_report(job, result, samples, handover)
            # Whatever cannot be written below is then missing, and not an earlier run's.
            for name in (REPORT, PAGE, CARD):
                (folder / name).unlink(missing_ok=True)
            bundle = _publish(result, folder)
            write_text(folder / REPORT, json.dumps(report, indent=1, allow_nan=False) + "\n")
            page = write_report(job, result, report, samples, store, terminal, folder)
            if bundle is not None:
                write_card(folder, job.threads, store)
            return Written(report, page, bundle)
    except PipelineError as error:
        if result.failure is None:
            raise
        # Why the run failed is said at its end, and this may well be of the same cause.
        terminal.note(f"the results of the run that failed cannot be written: {error}")
        return None


def _remove(folder: Path) -> None:
    for name in (REPORT, PAGE, CARD, *compile.GIVES.values()):
        (folder / name).unlink(missing_ok=True)


def _publish(result: TargetResult, folder: Path) -> Path | None:
    """Put the bundle and what belongs to it beside its report; the bundle's path, or None where
    there is none. What an earlier run left does not belong to this report."""
    compiled = next((stage for stage in result.stages if stage.name == "compile"), None)
    if compiled is None or compiled.artifact is None:
        for name in compile.GIVES.values():
            (folder / name).unlink(missing_ok=True)
        return None
    made = compiled.artifact.path.parent
    for name in compile.GIVES.values():
        is_bundle = name == compile.BUNDLE
        digest = compiled.artifact.sha256 if is_bundle else digest_of_path(made / name)
        if not (folder / name).is_file() or digest_of_path(folder / name) != digest:
            publish(made / name, folder / name)
    return folder / compile.BUNDLE


def _results_folder(job: Job, result: TargetResult) -> Path:
    last = job.stages[-1].name
    name = f"until-{last}" if result.target is None else result.target.name
    return job.artifacts / job.recipe.name / name
