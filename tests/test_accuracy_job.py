"""The CI job: the shell form is run, the workflow is held to what it promises."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "ci" / "accuracy.sh"
WORKFLOW = ROOT / ".github" / "workflows" / "accuracy.yml"
DIGITS = ROOT / "configs" / "inception_v4_digits.yaml"
SPOILED = (
    "--set", "quantize.weights=minmax", "--set", "equalize=null",
    "--set", "quantize.ranges={rule: percentile, percentile: 60}",
)  # fmt: skip


class Job:
    """The shell form on a recipe, with a folder, a store and a baseline of the test's own."""

    def __init__(self, lab: Any, config: Path, folder: Path, artifacts: Path) -> None:
        self.out = folder / "accuracy"
        self.baseline = folder / "baselines" / "baseline.json"
        self.summary = folder / "summary.md"
        self.variables = lab.environment(
            CONFIG=str(config), TARGETS="sl1680", OUT=str(self.out), ARTIFACTS=str(artifacts),
            BASELINE=str(self.baseline), PYTHON=sys.executable,
            GITHUB_STEP_SUMMARY=str(self.summary),
            # Of the machine's load nothing is to be learnt here.
            GATE_ARGS="--max-time-ratio 1000",
        )  # fmt: skip

    def run(self, *words: str, seconds: int = 300, **variables: str) -> tuple[int, str]:
        """Exit code and everything that was printed."""
        done = subprocess.run(
            ["bash", str(SCRIPT), *words], env=self.variables | variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    @property
    def table(self) -> str:
        return (self.out / "table.md").read_text()

    def kept(self) -> set[str]:
        return {path.name for path in (self.out / "sl1680").iterdir()}

    def failures(self) -> set[str]:
        """The stages and quantities of the JUnit file's failures."""
        root = ElementTree.parse(self.out / "sl1680" / "junit.xml").getroot()
        return {
            f"{case.attrib['classname'].rsplit('.', 1)[1]} {case.attrib['name']}"
            for case in root.iter("testcase")
            if case.find("failure") is not None
        }


def well_and_spoiled(job: Job) -> None:
    """Accept, compare with that, then compare a spoiled model."""
    code, said = job.run("--threads", "2", seconds=1500, ACCEPT="1")
    assert code == 0, said
    assert "accepted as the baseline" in said
    assert "sl1680" in json.loads(job.baseline.read_text())["targets"]

    code, said = job.run("--threads", "2", seconds=600)
    assert code == 0, said
    assert "no regression" in said and job.failures() == set()
    assert job.kept() == {
        "report.json", "model.synap", "junit.xml", "table.md", "run.txt", "gate.txt",
    }  # fmt: skip
    assert "✅" in job.table and "| quantize |" in job.table
    accepted = job.baseline.read_text()

    code, said = job.run("--threads", "2", *SPOILED, seconds=600)
    assert code == 1, said
    assert {"quantize top-1", "quantize drop", "compile top-1", "compile drop"} <= job.failures()
    assert not {name for name in job.failures() if name.startswith("export")}
    assert "❌" in job.table and "regression" in job.table
    assert job.baseline.read_text() == accepted
    assert job.summary.read_text().endswith(job.table), "the step summary shows the same"


def test_the_job_on_the_tiny_model(made: Any, lab: Any, tmp_path: Path) -> None:
    # Its thresholds are wide enough for the spoiled model not to be stopped before the gate: what
    # has to flag it is the comparison.
    config = tmp_path / "tiny.yaml"
    text = made.recipe.read_text().split("checks:")[0]
    text = text.replace("weights: weights", f"weights: {made.root}/weights")
    config.write_text(text.replace("folder: images", f"folder: {made.images}"))
    job = Job(lab, config, tmp_path, made.artifacts)
    well_and_spoiled(job)
    report = json.loads((job.out / "sl1680" / "report.json").read_text())
    assert report["verdict"] == "PASS", "without thresholds no check has failed"
    # A spoiled run cannot be accepted by accident where the recipe has thresholds.
    config.write_text(config.read_text() + "checks: {quantize: {min_top1: 1.0}}\n")
    before = job.baseline.read_text()
    code, said = job.run("--threads", "2", *SPOILED, ACCEPT="1")
    assert (code, job.baseline.read_text()) == (1, before), said
    assert "not accepted" in job.table


@pytest.mark.slow
def test_the_job_on_the_digits_model(lab: Any, tmp_path: Path) -> None:
    """The trained model is taken from the repository's own store where it is there."""
    trained = ROOT / "artifacts" / ".store" / "weights"
    if trained.is_dir():
        shutil.copytree(trained, tmp_path / "artifacts" / ".store" / "weights")
    well_and_spoiled(Job(lab, DIGITS, tmp_path, tmp_path / "artifacts"))


def test_a_run_that_cannot_be_made_has_a_table_that_says_why(lab: Any, tmp_path: Path) -> None:
    job = Job(lab, DIGITS, tmp_path, tmp_path / "artifacts")
    # A report of an earlier run must not be taken for this one's.
    stale = tmp_path / "artifacts" / "inception_v4_digits" / "sl9999" / "report.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    code, said = job.run(TARGETS="sl9999")
    assert code == 2, said
    assert "    error: " in job.table and "sl9999" in job.table
    assert job.table in job.summary.read_text()
    assert {path.name for path in (job.out / "sl9999").iterdir()} == {"run.txt"}


def test_a_baseline_that_is_missing(made: Any, lab: Any, tmp_path: Path) -> None:
    job = Job(lab, made.recipe, tmp_path, made.artifacts)
    code, said = job.run("--threads", "2")
    assert code == 3, said
    assert "there is no such file" in job.table and "--accept" in job.table


def test_without_an_environment(lab: Any, tmp_path: Path) -> None:
    job = Job(lab, DIGITS, tmp_path, tmp_path)
    code, said = job.run(PYTHON=str(tmp_path / "no-python"))
    assert (code, job.out.exists()) == (3, False)
    assert "make setup" in said


def workflow() -> Any:
    return yaml.load(WORKFLOW.read_text(), Loader=yaml.BaseLoader)


def test_the_workflow_has_the_least_permissions() -> None:
    flow = workflow()
    assert flow["permissions"] == {}
    jobs = flow["jobs"]
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "gate": {"contents": "read"},
        "comment": {"pull-requests": "write"},
    }
    assert "pull_request_target" not in flow["on"], "it would give secrets to a fork's code"
    # The job that may write runs nothing of the repository.
    uses = [step["uses"] for step in jobs["comment"]["steps"] if "uses" in step]
    assert [use.partition("@")[0] for use in uses] == ["actions/download-artifact"]
    (checkout,) = (s for s in jobs["gate"]["steps"] if "checkout" in s.get("uses", ""))
    assert checkout["with"]["persist-credentials"] == "false"


def test_the_workflows_actions_are_pinned() -> None:
    uses = re.findall(r"uses: (\S+)", WORKFLOW.read_text())
    assert len(uses) == 4
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", use) for use in uses)


def test_the_workflow_runs_the_shell_form() -> None:
    runs = [step["run"] for step in workflow()["jobs"]["gate"]["steps"] if "run" in step]
    assert runs == ["make setup", "bash ci/accuracy.sh"]
    assert (ROOT / workflow()["jobs"]["gate"]["env"]["CONFIG"]).is_file()
    expressions = re.findall(r"\$\{\{.*?\}\}", "\n".join(
        step.get("run", "") for job in workflow()["jobs"].values() for step in job["steps"]
    ))  # fmt: skip
    assert expressions == [], "what others write must not become part of a script"


GH = """\
#!/bin/sh
# A stand-in for GitHub's command: it notes its words, and knows the comments in the file `comments`.
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in *--jq*) cat "$COMMENTS_FILE" ;; esac
"""


@pytest.mark.parametrize(
    ("comments", "wanted"),
    [("", "api base/7/comments -F body=@body.md"),
     ("11\n12\n", "api --method PATCH base/comments/12 -F body=@body.md")],
)  # fmt: skip
def test_the_comment_takes_the_place_of_an_earlier_one(
    tmp_path: Path, comments: str, wanted: str
) -> None:
    (step,) = (s for s in workflow()["jobs"]["comment"]["steps"] if "run" in s)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gh").write_text(GH)
    (tmp_path / "bin" / "gh").chmod(0o755)
    (tmp_path / "accuracy").mkdir()
    (tmp_path / "accuracy" / "table.md").write_text("### ✅ a table\n")
    (tmp_path / "listed").write_text(comments)
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "COMMENTS": "base",
             "NUMBER": "7", "CALLS": str(tmp_path / "calls"),
             "COMMENTS_FILE": str(tmp_path / "listed")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listing, writing = (tmp_path / "calls").read_text().split("\napi ", 1)[0], wanted
    assert 'startswith("<!-- accuracy -->")' in (tmp_path / "calls").read_text()
    assert listing.startswith("api --paginate base/7/comments --jq")
    assert (tmp_path / "calls").read_text().splitlines()[-1] == writing
    assert (tmp_path / "body.md").read_text() == "<!-- accuracy -->\n### ✅ a table\n"
