"""`pipeline gate`: read a report and a baseline, compare or accept, and write what CI shows."""

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.artifact import write_text
from pipeline.errors import UsageError
from pipeline.regression.baseline import (
    Baseline,
    accept,
    baseline_path,
    mark_of,
    read_baseline,
    target_key,
)
from pipeline.regression.compare import compare
from pipeline.regression.junit import junit_text
from pipeline.regression.likeness import changes, unlike
from pipeline.regression.markdown import markdown_text
from pipeline.regression.report_file import Report, read_report
from pipeline.regression.result import Difference, GateResult, Limits
from pipeline.system_errors import system_errors_explained

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file of GitHub's step summary."""


def run_gate(
    report_file: Path,
    baseline_file: Path | None = None,
    *,
    accept_it: bool = False,
    even_failed: bool = False,
    limits: Limits | None = None,
    any_cpu: bool = False,
    junit: Path | None = None,
    markdown: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> GateResult:
    """Compare the report with the baseline, by default `configs/baselines/<recipe>.json` of the
    working folder, or with `accept_it` make it the baseline; with `even_failed`, one that failed its
    own checks, too.

    The JUnit and Markdown files are written whatever the outcome, and the Markdown is appended to
    the file that GITHUB_STEP_SUMMARY names, if `variables` (the environment) has it. Raises
    PipelineError where there is no outcome: a file that is missing, damaged or of
    another schema, a model without a float one, a run that is not accepted.
    """
    report = read_report(report_file)
    _require_float_model(report)
    path = baseline_file or baseline_path(report)
    baseline = accept(report, path, even_failed=even_failed) if accept_it else read_baseline(path)
    result = _judge(report, baseline, path, accept_it, limits or Limits(), any_cpu)
    if junit is not None:
        with system_errors_explained(f"writing {junit}", junit.parent):
            write_text(junit, junit_text(result))
    text = markdown_text(result)
    if markdown is not None:
        with system_errors_explained(f"writing {markdown}", markdown.parent):
            write_text(markdown, text)
    summary = (os.environ if variables is None else variables).get(STEP_SUMMARY)
    if summary:
        with (
            system_errors_explained(f"writing the step summary {summary}", Path(summary).parent),
            Path(summary).open("a", encoding="utf-8") as stream,
        ):
            stream.write(f"{text}\n")
    return result


def _require_float_model(report: Report) -> None:
    if report.came_quantized:
        raise UsageError(
            "a model that came quantized has no float model, so it cannot be gated",
            where=report.recipe,
            hint="bound its accuracy in the recipe: checks.lower.min_top1",
        )


def _judge(
    report: Report,
    baseline: Baseline,
    path: Path,
    accepted: bool,
    limits: Limits,
    any_cpu: bool,
) -> GateResult:
    before = baseline.targets.get(target_key(report))
    refused: tuple[Difference, ...] = ()
    if baseline.recipe != report.recipe:
        refused = (Difference("recipe", baseline.recipe, report.recipe),)
    elif before is None:
        has = ", ".join(baseline.targets) or "none"
        refused = (Difference("target", has, target_key(report)),)
    now = mark_of(report)
    if refused or before is None:
        return GateResult(report.recipe, report.target, str(path), accepted, (), refused, ())
    refused = unlike(before, now, any_cpu=any_cpu)
    rows = () if refused else compare(before, now, report, limits)
    return GateResult(
        report.recipe, report.target, str(path), accepted, rows, refused, changes(before, now)
    )
