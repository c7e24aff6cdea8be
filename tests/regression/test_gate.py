"""Accepting, and the files that CI reads."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.errors import StageError, UsageError
from pipeline.regression.baseline import NotAcceptedError, baseline_text, read_baseline
from pipeline.regression.gate import run_gate
from pipeline.regression.result import Limits
from pipeline.report.gate_view import print_gate

OTHER = "b" * 64
HOSTILE = '@someone </td><script> | `x` **b** [a](http://b) #1 <!-- "]]>\x1b[31m \ufffe &amp; 1\n2'


def test_a_baseline_is_canonical_and_small(desk: Any, run_report: Any) -> None:
    text = desk.baseline.read_text()
    data = json.loads(text)
    assert text == json.dumps(data, sort_keys=True, indent=1) + "\n"
    assert len(text) < len(desk.report.read_text())
    assert "weights" not in data["targets"]["sl1680"]["stages"]
    desk.gate(accept_it=True)
    assert desk.baseline.read_text() == text, "the same run gives the same file"
    assert baseline_text(read_baseline(desk.baseline)) == text
    assert [path.name for path in desk.folder.iterdir() if path.name.startswith(".")] == []


def test_accepting_changes_what_is_held(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    worse = in_stage("quantize", top1=0.5, top1_drop=0.4, sha256=OTHER)
    assert desk.gate(worse).verdict == "FAIL"
    accepted = desk.gate(worse, accept_it=True)
    assert (accepted.verdict, accepted.accepted) == ("PASS", True)
    assert accepted.headline == "tiny for sl1680: accepted as the baseline"
    assert desk.gate(worse).verdict == "PASS"


def test_what_cannot_be_accepted(desk: Any) -> None:
    text = desk.baseline.read_text()

    def failed(report: Any) -> None:
        report["failure"] = "compile: no toolkit\n  install it"

    def no_float_model(report: Any) -> None:
        report["stages"] = report["stages"][:1]

    for change, said in ((failed, "a run that failed"), (no_float_model, "float model")):
        with pytest.raises(UsageError, match=said):
            desk.gate(change, accept_it=True)
    with pytest.raises(UsageError, match="is the baseline of tiny") as error:
        desk.gate(lambda report: report.update(recipe="other"), accept_it=True)
    assert "configs/baselines/other.json" in error.value.hint
    assert desk.baseline.read_text() == text
    desk.baseline.write_text("{")
    with pytest.raises(StageError, match="is not JSON"):
        desk.gate(accept_it=True)
    assert desk.baseline.read_text() == "{", "what is damaged is not overwritten"


ACCEPTING = """
import sys
from pathlib import Path
from pipeline.regression import baseline
from pipeline.regression.report_file import read_report

def held(text, made=baseline.baseline_text):
    print("about to write", flush=True)
    sys.stdin.readline()
    return made(text)

if sys.argv[3] == "hold":
    baseline.baseline_text = held
report = read_report(Path(sys.argv[1]))
print("begins", flush=True)
baseline.accept(report, Path(sys.argv[2]))
"""


def test_two_at_once_lose_neither(desk: Any) -> None:
    """One stops between reading and writing, and meanwhile another begins."""
    desk.baseline.unlink()

    def accepting(target: str, how: str) -> "subprocess.Popen[str]":
        report = desk.write(lambda report: report.update(target=target))
        own = report.rename(desk.folder / f"{target}.json")
        process = subprocess.Popen(
            [sys.executable, "-c", ACCEPTING, str(own), str(desk.baseline), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stdout.readline() == "begins\n"
        return process

    first = accepting("sl1680", "hold")
    assert first.stdout is not None and first.stdout.readline() == "about to write\n"
    second = accepting("sl1640", "go on")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(1)
    first.communicate("\n", timeout=60)
    second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert sorted(read_baseline(desk.baseline).targets) == ["sl1640", "sl1680"]
    files = {path.name for path in desk.folder.iterdir()}
    assert files == {"tiny.json", "sl1680.json", "sl1640.json"}, "nothing to commit is left"


@pytest.mark.parametrize("verdict", ["FAIL", "SKIPPED"])
def test_a_run_that_failed_its_own_checks_is_accepted_only_if_said(
    desk: Any, changes: Any, verdict: str
) -> None:
    in_stage, both = changes
    text = desk.baseline.read_text()
    bad = both(
        in_stage("quantize", top1=0.0, required=True, verdict=verdict, reason="drop 89.00 points"),
        lambda report: report.update(verdict=verdict),
    )
    with pytest.raises(NotAcceptedError) as error:
        desk.gate(bad, accept_it=True)
    assert error.value.exit_code == 1
    assert f"verdict is {verdict} (quantize: drop 89.00 points): not accepted" in str(error.value)
    assert "--accept-failed" in error.value.hint
    assert desk.baseline.read_text() == text
    assert desk.gate(bad, accept_it=True, even_failed=True).accepted
    assert desk.baseline.read_text() != text


@pytest.mark.parametrize("accept_it", [True, False])
def test_a_model_that_came_quantized_cannot_be_gated(desk: Any, accept_it: bool) -> None:
    def quantized(report: Any) -> None:
        report["stages"] = [s for s in report["stages"] if s["name"] in ("lower", "compile")]

    with pytest.raises(UsageError, match="cannot be gated") as error:
        desk.gate(quantized, accept_it=accept_it)
    assert "checks.lower.min_top1" in error.value.hint


def test_the_default_baseline(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder)
    with pytest.raises(StageError, match="no such file") as error:
        run_gate(desk.report, variables={})
    assert error.value.where == "configs/baselines/tiny.json"
    assert "--accept" in error.value.hint
    run_gate(desk.report, accept_it=True, variables={})
    assert (desk.folder / "configs/baselines/tiny.json").is_file()
    assert run_gate(desk.report, variables={}).verdict == "PASS"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_top1_loss": 0.5}, "--max-top1-loss: 0.5 is not from 0 to 0.2"),
        ({"max_drop_rise": -0.1}, "--max-drop-rise"),
        ({"max_top1_loss": float("nan")}, "--max-top1-loss"),
        ({"max_size_ratio": 0.9}, "--max-size-ratio: 0.9 is not 1 or more"),
        ({"max_time_ratio": float("inf")}, "--max-time-ratio"),
    ],
)
def test_limits_that_are_none(options: Any, said: str) -> None:
    with pytest.raises(UsageError) as error:
        Limits(**options)
    assert said in str(error.value)


def junit(desk: Any, change: Any, **options: Any) -> ElementTree.Element:
    path = desk.folder / "results" / "junit.xml"
    desk.gate(change, junit=path, **options)
    return ElementTree.fromstring(path.read_text())


def test_junit(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    root = junit(desk, in_stage("quantize", top1=0.0))
    (suite,) = root
    cases = suite.findall("testcase")
    assert (root.tag, suite.attrib["tests"]) == ("testsuites", str(len(cases)))
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("1", "0")
    (failed,) = (case for case in cases if case.find("failure") is not None)
    assert (failed.attrib["classname"], failed.attrib["name"]) == ("tiny.sl1680.quantize", "top-1")
    failure = failed.find("failure")
    assert failure is not None and "fewer right by" in failure.attrib["message"]
    assert (failure.text or "").endswith(", now 0.0, may lose 0"), "it is the same file"


def test_junit_says_what_is_allowed(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    grown = in_stage("quantize", top1=0.0, top1_drop=0.9, sha256=OTHER, bytes=lambda n: 2 * n)
    texts = [failure.text or "" for failure in junit(desk, grown).iter("failure")]
    assert [text.split(", ")[-1] for text in texts] == [
        "may lose 0.005", "may grow by 0.005", "may be 1.1 times as many",
    ]  # fmt: skip


def test_junit_of_what_was_refused(desk: Any) -> None:
    root = junit(desk, lambda report: report["data"]["evaluation"].update(sha256=OTHER))
    assert (root.attrib["tests"], root.attrib["errors"]) == ("1", "1")
    error = root.find("testsuite/testcase/error")
    assert error is not None and "evaluation images" in (error.text or "")


def skipped_because(reason: str) -> Any:
    def change(report: Any) -> None:
        (stage,) = (stage for stage in report["stages"] if stage["name"] == "compile")
        stage["artifact"] = None
        stage["check"] |= {"images": 0, "top1": None, "top1_drop": None, "reason": reason}

    return change


def test_texts_of_a_report_are_no_markup(desk: Any, capsys: Any) -> None:
    from rich.console import Console

    root = junit(desk, skipped_because(HOSTILE))
    failure = root.find(".//failure")
    assert failure is not None
    # What XML has no place for becomes the sign for that, and a line break in an attribute stays.
    assert failure.attrib["message"] == (
        "was skipped: " + HOSTILE.replace("\x1b", "\ufffd").replace("\ufffe", "\ufffd")
    )
    path = desk.folder / "summary.md"
    result = desk.gate(skipped_because(HOSTILE), markdown=path)
    (line,) = (line for line in path.read_text().splitlines() if "was skipped" in line)
    assert line == (
        "- compile: was skipped: @<!-- -->someone &lt;/td&gt;&lt;script&gt; \\| \\`x\\` "
        '\\*\\*b\\*\\* \\[a\\](http://b) #<!-- -->1 &lt;\\!-- "\\]\\]&gt; \\[31m &amp;amp; 1 2'
    )
    print_gate(result, Console(width=100, highlight=False))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "[a](http://b)" in out and "1\\n2" in out


def test_markdown(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    path = desk.folder / "deep" / "table.md"
    desk.gate(markdown=path)
    assert path.read_text().startswith("### ✅ tiny for sl1680: no regression\n")
    assert "❌" not in path.read_text()
    desk.gate(in_stage("quantize", top1=0.0), markdown=path)
    lines = path.read_text().splitlines()
    assert lines[0] == "### ❌ tiny for sl1680: 1 regression"
    assert lines[2] == "| stage | top-1 | drop | size | time |"
    (row,) = (line for line in lines if line.startswith("| quantize"))
    assert re.match(r"\| quantize \| ❌ \*\*0\.00%\*\* \(was \d+\.\d\d%\) \|", row)
    desk.gate(lambda report: report["data"]["preprocess"].update(size=65), markdown=path)
    text = path.read_text()
    assert "⚠️ tiny for sl1680: not compared" in text
    assert "- preprocessing, size: 64 in the baseline, 65 now" in text


def test_the_step_summary_is_appended_to(desk: Any) -> None:
    summary, table = desk.folder / "summary", desk.folder / "table.md"
    summary.write_text("before\n")
    variables = {"GITHUB_STEP_SUMMARY": str(summary)}
    desk.gate(variables=variables, markdown=table)
    desk.gate(variables=variables)
    assert summary.read_text() == "before\n" + 2 * f"{table.read_text()}\n"
    with pytest.raises(StageError, match="step summary"):
        desk.gate(variables={"GITHUB_STEP_SUMMARY": str(desk.folder)})


def test_results_that_cannot_be_written(desk: Any) -> None:
    for option in ("junit", "markdown"):
        with pytest.raises(StageError, match=f"writing {re.escape(str(desk.report))}"):
            desk.gate(**{option: desk.report / "file"})


def test_the_result_as_json(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    data = json.loads(
        json.dumps(desk.gate(in_stage("export", top1=0.0)).to_json(), allow_nan=False)
    )
    assert (data["verdict"], data["recipe"], data["target"]) == ("FAIL", "tiny", "sl1680")
    assert data["rows"][0]["stage"] == "export" and data["rows"][0]["now"] == 0.0


def test_the_baseline_is_what_the_repository_may_hold(lab: Any) -> None:
    """Every committed baseline can be read, and is as `--accept` writes it."""
    for path in sorted(Path(lab.REPOSITORY, "configs", "baselines").glob("*.json")):
        baseline = read_baseline(path)
        assert path.stem == baseline.recipe
        assert path.with_name(f"{path.stem}.yaml").name in {
            recipe.name for recipe in path.parents[1].glob("*.yaml")
        }
        assert path.read_text() == baseline_text(baseline)
