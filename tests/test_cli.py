"""The command line as a user has it: real processes, exit codes, files and words."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.stages import STAGES

SHARED = [stage.name for stage in STAGES if not stage.per_target]
ROWS = [*SHARED, "compile sl1640", "compile sl1680"]
"""The chain as the table and the plan show it."""
HEAVY = ("torch", "torchvision", "timm", "onnx", "onnx_ir", "onnxruntime", "sklearn", "scipy",
         "huggingface_hub", "safetensors", "PIL", "numpy", "boost_histogram")  # fmt: skip
STAND_IN = Path(__file__).parent / "synap" / "stand_in" / "synap_convert.py"


def words(text: str) -> str:
    """The text with all white space as single blanks, as wrapped lines are read."""
    return " ".join(text.split())


@pytest.fixture(scope="session")
def pipeline(lab: Any) -> Callable[..., Any]:
    """`pipeline` with these words, without a recipe of ours."""
    return lambda *argv, **env: lab.call([sys.executable, "-m", "pipeline", *map(str, argv)], **env)


@pytest.fixture(scope="session")
def loaded(lab: Any) -> Callable[..., set[str]]:
    """Which heavy libraries a command imports."""
    script = (
        "import atexit, json, sys; "
        "atexit.register(lambda: sys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))); "
        "sys.argv = ['pipeline', *sys.argv[1:]]; from pipeline.entry import main; main()"
    )

    def run(code: int, *argv: str) -> set[str]:
        done = lab.call([sys.executable, "-c", script, *argv])
        assert done.code == code, done.err
        modules = {name.partition(".")[0] for name in json.loads(done.err.splitlines()[-1])}
        assert "pipeline" in modules and "typer" in modules
        return modules & set(HEAVY)

    return run


# Help


def commands() -> dict[str, Any]:
    import typer

    from pipeline.cli import app

    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("name", commands())
def test_help_explains_everything_and_gives_examples(pipeline: Any, name: str) -> None:
    command = commands()[name]
    assert [p.name for p in command.params if not getattr(p, "help", "")] == []
    done = pipeline(name, "--help", COLUMNS="80")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    examples = re.findall(rf"^  pipeline {name}([^>\n]*)", done.out, re.MULTILINE)
    assert examples
    for example in examples:
        command.make_context(name, shlex.split(example))  # raises for what it does not know


# What is imported


@pytest.mark.parametrize(
    "argv", [["--help"], ["--version"], ["run", "--help"], ["plan", "--help"], ["evaluate", "--help"]]
)  # fmt: skip
def test_help_imports_nothing_heavy(loaded: Any, argv: list[str]) -> None:
    assert loaded(0, *argv) == set()


@pytest.mark.parametrize("argv", [["schema"], ["run", "nowhere.yaml"], ["run"]])
def test_nor_do_errors_and_the_schema(loaded: Any, argv: list[str]) -> None:
    # The stages are loaded to be able to name them; numpy is the most that this may take.
    assert loaded(0 if argv == ["schema"] else 2, *argv) <= {"numpy"}


def test_a_run_that_computes_nothing_imports_no_frameworks(loaded: Any, made: Any) -> None:
    unwanted = {
        "torch",
        "torchvision",
        "timm",
        "sklearn",
        "scipy",
        "onnxruntime",
        "onnx",
        "onnx_ir",
    }
    assert loaded(0, *made.command("run")[3:]) & unwanted == set()
    assert loaded(0, *made.command("plan")[3:]) & unwanted == set()


# A first run


def test_a_first_run(first_run: Any) -> None:
    setting, done = first_run
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == "stage top-1 drop step agree SQNR verdict size time".split()  # noqa: SIM905
    for name, line in zip(ROWS, done.out.splitlines()[1:], strict=False):
        verdict = "PASS" if name.split()[0] in REQUIRED else "reported"
        assert line.startswith(name) and f" {verdict} " in line and "stored" not in line
    said = words(done.out)
    assert "60 evaluation images; drops in points" in said
    for target in ("sl1640", "sl1680"):
        path = setting.artifacts / "tiny" / target / "model.synap"
        assert f"{path} (CPU bundle, not an NPU build)" in said
        assert path.is_file() and (path.parent / "report.json").is_file()
    assert "Nothing was computed" not in said
    assert "Traceback" not in done.err and "Warning" not in done.err, done.err
    assert setting.half_made() == []


REQUIRED = ("weights", "export", "quantize", "compile")
"""What the recipe of these tests gives a threshold."""
NUMBER = (int, float)
CHECK: dict[str, tuple[type, ...]] = {
    "latency_ms": (float, type(None)), "flip_rate": NUMBER, "kl_divergence": NUMBER,
    "reference_sqnr_db": NUMBER, "published": (str, type(None)),
    "images": (int,), "top1": NUMBER, "top5": NUMBER, "top1_drop": NUMBER, "step_drop": NUMBER,
    "agreement": NUMBER, "sqnr_db": NUMBER, "max_logit_error": NUMBER,
    "confidence_interval": (list,), "required": (bool,), "evidence": (str,), "verdict": (str,),
    "reason": (str,),
}  # fmt: skip


@pytest.mark.parametrize("target", ["sl1640", "sl1680"])
def test_the_report_is_the_contracts(first_run: Any, target: str) -> None:
    setting, _ = first_run
    report = setting.report(target)
    assert report["schema"] == 1
    assert (report["recipe"], report["target"], report["verdict"]) == ("tiny", target, "PASS")
    assert [s["name"] for s in report["stages"]] == [*SHARED, "compile"]
    for stage in report["stages"]:
        assert stage["cached"] is False
        assert isinstance(stage["seconds"], float) and stage["seconds"] > 0
        assert isinstance(stage["peak_rss_mb"], float) and stage["peak_rss_mb"] > 10
        artifact = stage["artifact"]
        assert set(artifact) == {"path", "format", "sha256", "bytes"}
        path = setting.artifacts / artifact["path"]
        assert path.exists()
        assert re.fullmatch("[0-9a-f]{64}", artifact["sha256"])
        assert isinstance(artifact["bytes"], int) and artifact["bytes"] > 0
        assert set(stage["check"]) == set(CHECK)
        for field, types in CHECK.items():
            value = stage["check"][field]
            assert value is None or type(value) in types, (stage["name"], field, value)
        assert stage["check"]["images"] == 60
        assert stage["check"]["evidence"] == "measured"
        assert stage["check"]["required"] is (stage["name"] in REQUIRED)
        assert stage["check"]["verdict"] == ("PASS" if stage["name"] in REQUIRED else "SKIPPED")
    checks = {stage["name"]: stage["check"] for stage in report["stages"]}
    weights, export, quantize, compiled = (checks[name] for name in REQUIRED)
    compared = ("top1_drop", "step_drop", "agreement", "sqnr_db", "max_logit_error")
    assert [weights[name] for name in compared] == [None] * 5
    assert (export["top1_drop"], export["step_drop"], export["confidence_interval"]) == (0, 0, None)
    assert export["agreement"] == 1 and 0 < export["max_logit_error"] < 1e-3
    assert 10 < quantize["sqnr_db"] < 60
    assert quantize["top1_drop"] == pytest.approx(export["top1"] - quantize["top1"])
    low, high = quantize["confidence_interval"]
    assert low < quantize["top1_drop"] < high
    assert (compiled["step_drop"], compiled["agreement"], compiled["max_logit_error"]) == (0, 1, 0)
    assert report["compile"]["toolkit"] is None and report["compile"]["toolkit_version"] is None
    assert (report["compile"]["delegate"], report["compile"]["handoff"]) == ("cpu", "qdq-onnx")
    assert report["compile"]["notice"] == "CPU bundle, not an NPU build"
    for name, count in (("calibration", 20), ("evaluation", 60)):
        assert report["data"][name]["images"] == count
        assert re.fullmatch("[0-9a-f]{64}", report["data"][name]["sha256"])
    environment = report["environment"]
    assert environment["threads"] == 2 and isinstance(environment["cpu_features"], list)
    for package in ("torch", "timm", "onnx", "onnxruntime", "numpy"):
        assert re.match(r"\d+\.\d+", environment["versions"][package]), package


def test_the_model_beside_the_report_is_the_one_that_was_measured(first_run: Any) -> None:
    import hashlib

    setting, _ = first_run
    for target in ("sl1640", "sl1680"):
        content = (setting.artifacts / "tiny" / target / "model.synap").read_bytes()
        compiled = setting.report(target)["stages"][-1]["artifact"]
        assert hashlib.sha256(content).hexdigest() == compiled["sha256"]
        assert len(content) == compiled["bytes"]


# Further runs


def test_a_second_run_computes_nothing_and_says_so(made: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.store.rglob("entry.json")}
    done = made.run()
    assert done.code == 0, done.err
    assert "Nothing was computed: everything was in the store." in done.out
    assert done.out.count("stored") == len(ROWS)
    assert all(stage["cached"] for stage in made.report()["stages"])
    after = {path: path.stat().st_mtime_ns for path in made.store.rglob("entry.json")}
    assert after == before
    assert set(made.plan().values()) == {"is in the store"}


def test_evaluating_what_is_stored_on_new_images_is_computing(made: Any) -> None:
    options = ["--set", "data.evaluation.images=50", "--set", "data.evaluation.at_least=50"]
    done = made.run(*options)
    assert done.code == 0, done.err
    assert len(re.findall(r" stored *$", done.out, re.MULTILINE)) == len(ROWS)
    assert "Nothing was computed" not in done.out
    assert "Nothing was computed" in made.run(*options).out


def test_a_lost_result_is_put_back(made: Any) -> None:
    folder = made.artifacts / "tiny" / "sl1640"
    content = (folder / "model.synap").read_bytes()
    (folder / "model.synap").write_bytes(b"damaged")
    (folder / "report.json").unlink()
    assert made.run().code == 0
    assert (folder / "model.synap").read_bytes() == content
    assert (folder / "report.json").is_file()


KINDS = ("weights", "export", "ranges", "quantize", "lower", "compile", "outputs", "verdicts")


def new_entries(setting: Any, before: dict[str, set[str]]) -> dict[str, int]:
    counts = {kind: len(setting.entries(kind) - before[kind]) for kind in KINDS}
    return {kind: count for kind, count in counts.items() if count}


def test_another_threshold_only_judges_again(made: Any) -> None:
    before = {kind: made.entries(kind) for kind in KINDS}
    override = ["--set", "checks.quantize.max_top1_drop=0.1"]
    assert set(made.plan(*override).values()) == {"is in the store"}
    done = made.run(*override)
    assert done.code == 0, done.err
    assert new_entries(made, before) == {"verdicts": 1}
    assert "limit 10.00" in done.out and all(s["cached"] for s in made.report()["stages"])


def test_another_range_rule_repeats_what_depends_on_it(made: Any) -> None:
    before = {kind: made.entries(kind) for kind in KINDS}
    override = ["--set", "quantize.ranges={rule: percentile, percentile: 99.9}"]
    plan = made.plan(*override)
    assert plan["weights"] == plan["export"] == plan["equalize"] == "is in the store"
    assert plan["quantize"].startswith("would run: ")
    assert "options.quantize.ranges.rule: minmax -> percentile" in plan["quantize"]
    assert "options.quantize.ranges.percentile: 99.99 -> 99.9" in plan["quantize"]
    for target in ("sl1640", "sl1680"):
        assert re.fullmatch(r"would run: its \w+ is not made yet", plan[f"compile {target}"])
    assert new_entries(made, before) == {}, "a plan computes nothing"
    done = made.run(*override)
    assert done.code == 0, done.err
    # The calibration pass is not repeated; both bundles have the same bytes, so the same logits.
    assert new_entries(made, before) == {
        "quantize": 1, "lower": 1, "compile": 2, "outputs": 4, "verdicts": 3
    }  # fmt: skip
    cached = {s["name"]: s["cached"] for s in made.report()["stages"]}
    assert cached == {name: name not in ("quantize", "lower", "compile") for name in cached}
    assert set(made.plan(*override).values()) == {"is in the store"}
    assert set(made.plan().values()) == {"is in the store"}, "and what was there is still there"


def test_a_plan_of_nothing(fresh: Any) -> None:
    plan = fresh.plan("--target", "sl1680")
    assert list(plan) == [*SHARED, "compile sl1680"]
    assert plan.pop("weights") == "would run: never made before"
    for state in plan.values():
        assert re.fullmatch(r"would run: its \w+ is not made yet", state)


def test_a_plan_for_machines(made: Any, lab: Any) -> None:
    options = ["--json", "--set", "quantize.ranges={rule: percentile, percentile: 99.9}"]
    done = lab.call(made.command("plan", *options))
    assert done.code == 0, done.err
    rows = {row["stage"]: row for row in done.json}
    assert list(rows) == ROWS
    assert all(set(row) == {"stage", "state", "reason", "changed"} for row in done.json)
    assert rows["export"] == {"stage": "export", "state": "stored", "reason": "", "changed": []}
    changed = {change["field"]: change for change in rows["quantize"]["changed"]}
    assert changed["options.quantize.ranges.percentile"] == {
        "field": "options.quantize.ranges.percentile", "old": 99.99, "new": 99.9,
    }  # fmt: skip
    assert rows["quantize"]["state"] == rows["lower"]["state"] == "run"
    assert (rows["lower"]["reason"], rows["lower"]["changed"]) == ("its base is not made yet", [])
    done = lab.call(made.command("plan", "--json", "--set", "quantize.data_type=int16",
                                 "--set", "quantize.scheme=dynamic_fixed_point"))  # fmt: skip
    (lower,) = (row for row in done.json if row["stage"] == "lower")
    assert lower["state"] == "skipped" and "int16" in lower["reason"]


def test_a_plan_for_people(made: Any, lab: Any) -> None:
    done = lab.call(made.command("plan"))
    assert done.code == 0
    assert [line.split("  ")[0] for line in done.out.splitlines()] == ROWS


def test_a_plan_says_what_a_run_would_stop_for(made: Any, lab: Any, tmp_path: Path) -> None:
    lacking = ["--set", "compile.delegate=npu", "--set", "compile.toolkit=none"]
    done = lab.call(made.command("plan", *lacking))
    assert done.code == 0, done.err
    assert "a run would stop: the SyNAP toolkit, which delegate npu needs" in done.out
    assert "--set compile.delegate=cpu" in done.out.splitlines()[-1]
    done = lab.call(made.command("run", *lacking))
    assert done.code == 3 and "the SyNAP toolkit, which delegate npu needs" in done.err


def test_a_model_of_integers_has_no_sensitivity(pipeline: Any) -> None:
    recipe = Path(__file__).parents[1] / "configs" / "mobilenet_v2_int8_tflite.yaml"
    done = pipeline("sensitivity", recipe)
    assert done.code == 2
    assert "there is no float model to compare its layers with" in done.err
    assert "--until" not in done.err


def test_until_a_stage(made: Any) -> None:
    shutil.rmtree(made.artifacts / "tiny")
    done = made.run("--until", "export")
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:3]] == ["weights", "export"]
    assert "quantize" not in done.out and ".synap" not in done.out
    report = made.report("until-export")
    assert (report["target"], report["compile"], report["verdict"]) == (None, None, "PASS")
    assert [s["name"] for s in report["stages"]] == ["weights", "export"]
    assert [p.name for p in (made.artifacts / "tiny").iterdir()] == ["until-export"]


def test_one_target(made: Any) -> None:
    shutil.rmtree(made.artifacts / "tiny")
    done = made.run("--target", "SL1680")
    assert done.code == 0, done.err
    assert [p.name for p in (made.artifacts / "tiny").iterdir()] == ["sl1680"]
    assert "sl1640" not in done.out


def test_json(made: Any) -> None:
    done = made.run("--json")
    assert done.code == 0, done.err
    assert done.json == [made.report("sl1640"), made.report("sl1680")]
    done = made.run("--json", "--target", "sl1680")
    assert done.json == made.report("sl1680")


# Verdicts and exit codes


def test_a_failed_check(made: Any) -> None:
    done = made.run("--set", "checks.weights.min_top1=0.99")
    assert done.code == 1
    assert made.report()["verdict"] == "FAIL"
    assert re.search(r"weights: FAIL: top-1 \d\d\.\d\d % is below 99\.00 %", done.out)
    assert (made.artifacts / "tiny" / "sl1680" / "model.synap").is_file(), "the result is there"


def test_an_undecided_check(made: Any) -> None:
    override = ["--set", "checks.quantize={max_top1_drop: 0.001, confidence: 0.9999}"]
    done = made.run(*override)
    assert (done.code, made.report()["verdict"]) == (0, "UNDECIDED")
    assert "60 images do not suffice, about " in done.out
    assert made.run(*override, "--strict").code == 1
    assert made.run("--strict").code == 0


def test_a_limit_that_the_images_cannot_show_is_said_before_the_run(made: Any) -> None:
    done = made.run(
        "--set", "checks.compile.max_top1_drop=0.005", "--set", "checks.compile.confidence=0.95"
    )
    assert (
        "checks.compile: 60 evaluation images cannot show a drop within 0.5 points at 95 % if "
        "none changes; that takes 539 images" in words(done.err)
    )
    assert "cannot show" not in made.run().err


def test_a_required_check_that_was_skipped(made: Any) -> None:
    done = made.run("--set", "checks.compile.max_latency_ms=20")
    assert (done.code, made.report()["verdict"]) == (1, "SKIPPED")
    assert "compile sl1680: SKIPPED: no board of this target measured the latency" in done.out


def test_a_check_without_threshold_is_only_reported(made: Any) -> None:
    done = made.run("--set", "checks={}")
    assert (done.code, made.report()["verdict"]) == (0, "PASS")
    assert done.out.count("reported") == len(ROWS)
    assert {s["check"]["required"] for s in made.report()["stages"]} == {False}
    assert {s["check"]["verdict"] for s in made.report()["stages"]} == {"SKIPPED"}


# The NPU, by a test double of the toolkit


@pytest.fixture
def toolkit(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """An environment whose PATH has nothing but the double, which fails for the target named."""

    def make(fails_for: str = "none") -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "synap_convert"
        double = f"{shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))}"
        program.write_text(
            f'#!/bin/sh\ncase " $* " in *" {fails_for} "*) export SYNAP_STAND_IN=exit1;; esac\n'
            f'exec {double} "$@"\n'
        )
        program.chmod(0o755)
        return {"PATH": str(folder)}

    return make


NPU = ["--set", "compile.delegate=npu"]


def test_an_npu_bundle_is_only_predicted(made: Any, lab: Any, toolkit: Any) -> None:
    env = toolkit()
    done = lab.call(made.command("run", *NPU), **env)
    assert done.code == 1, done.err
    report = made.report()
    check = report["stages"][-1]["check"]
    assert (check["verdict"], check["evidence"], report["verdict"]) == (
        "SKIPPED", "predicted", "SKIPPED",
    )  # fmt: skip
    assert "the recipe does not say `accept: predicted`" in check["reason"]
    assert "SKIPPED (predicted)" in done.out
    assert "CPU bundle" not in done.out
    accepted = [*NPU, "--set", "checks.compile.accept=predicted"]
    done = lab.call(made.command("run", *accepted), **env)
    assert done.code == 0, done.err
    report = made.report()
    assert (report["verdict"], report["stages"][-1]["check"]["evidence"]) == ("PASS", "predicted")
    compiled = report["compile"]
    assert (compiled["toolkit"], compiled["toolkit_version"]) == ("native", "3.2.0")
    assert (compiled["delegate"], compiled["handoff"]) == ("npu", "tflite")
    assert "PASS (predicted)" in done.out


def test_one_target_goes_on_when_the_other_fails(made: Any, lab: Any, toolkit: Any) -> None:
    shutil.rmtree(made.artifacts / "tiny")
    env = toolkit(fails_for="SL1640")
    command = made.command("run", *NPU, "--set", "checks.compile.accept=predicted")
    done = lab.call(command, **env)
    assert done.code == 3
    assert re.search(r"^error: sl1640: ", done.err, re.MULTILINE)
    assert "Traceback" not in done.err
    assert (made.artifacts / "tiny" / "sl1680" / "model.synap").is_file()
    assert not (made.artifacts / "tiny" / "sl1640" / "model.synap").exists()
    assert made.report("sl1680")["verdict"] == "PASS"
    failed = made.report("sl1640")
    assert failed["verdict"] == "FAIL" and failed["failure"]
    assert [s["name"] for s in failed["stages"]] == SHARED
    assert made.half_made() == []
    done = lab.call([*command, "--json"], **env)
    assert done.code == 3
    assert [r["verdict"] for r in done.json] == ["FAIL", "PASS"]


def in_the_way(made: Any, kind: str) -> Path:
    """The store can neither find nor make entries of this kind."""
    place: Path = made.store / kind
    shutil.rmtree(place)
    place.write_text("a file")
    return place


def test_a_shared_stage_that_fails_fails_every_target(
    made: Any, lab: Any, pipeline: Any, tmp_path: Path
) -> None:
    """Nothing of an earlier run that passed is left to be taken for this one's."""
    folders = [made.artifacts / "tiny" / name for name in ("sl1640", "sl1680")]
    report, earlier, baseline = folders[1] / "report.json", tmp_path / "old.json", tmp_path / "b"
    shutil.copy(report, earlier)
    assert pipeline("gate", report, "--baseline", baseline, "--accept").code == 0
    blocked = in_the_way(made, "quantize")
    done = made.run()
    assert done.code == 3 and "Traceback" not in done.err
    assert done.err.count("error: quantize: ") == 1
    finished = SHARED[: SHARED.index("quantize")]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {"report.json", "report.html"}
        failed = json.loads((folder / "report.json").read_text())
        assert (failed["verdict"], failed["compile"]) == ("FAIL", None)
        assert failed["failure"].startswith("quantize: ")
        assert [stage["name"] for stage in failed["stages"]] == finished
        assert "The run ended early. quantize: " in words((folder / "report.html").read_text())
        assert str(folder / "report.html") in done.out
    judged = pipeline("gate", report, "--baseline", baseline)
    assert judged.code == 1 and "the run failed before it: quantize: " in words(judged.out)
    compared = pipeline("compare", earlier, report)
    assert compared.code == 0 and "quantize: " in compared.out
    done = lab.call(made.command("run", "--json"))
    assert done.code == 3
    assert [r["verdict"] for r in done.json] == ["FAIL", "FAIL"]
    blocked.unlink()
    assert made.run().code == 0
    assert made.report()["verdict"] == "PASS" and (folders[0] / "model.synap").is_file()


def test_part_of_a_chain_that_fails_is_no_target_s(made: Any) -> None:
    assert made.run("--until", "equalize").code == 0
    whole = made.report()
    in_the_way(made, "equalize")
    done = made.run("--until", "equalize")
    assert done.code == 3
    failed = made.report("until-equalize")
    assert (failed["target"], failed["verdict"]) == (None, "FAIL")
    assert [stage["name"] for stage in failed["stages"]] == ["weights", "export"]
    assert made.report() == whole


def test_where_no_stage_was_finished_there_are_no_results(made: Any, pipeline: Any) -> None:
    in_the_way(made, "weights")
    done = made.run("--target", "sl1680", "--json")
    assert (done.code, done.out) == (3, "") and done.err.count("error: weights: ") == 1
    assert list((made.artifacts / "tiny" / "sl1680").iterdir()) == []
    assert made.report("sl1640")["verdict"] == "PASS", "nobody asked for this target"
    judged = pipeline("gate", made.artifacts / "tiny" / "sl1680" / "report.json")
    assert judged.code == 3 and "there is no such file" in judged.err


def test_what_is_missing_before_anything_is_started_changes_nothing(made: Any) -> None:
    reports = made.artifacts / "tiny"
    before = {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()}
    for wrong in (["--data", "nowhere"], ["--set", "quantize.data_type=int7"]):
        assert made.run(*wrong).code in (2, 3)
        assert {p: p.read_bytes() for p in reports.rglob("*") if p.is_file()} == before


def test_sensitivity_of_a_model_that_cannot_be_quantized(made: Any, lab: Any) -> None:
    in_the_way(made, "quantize")
    images = "data.selection={dataset: imagenet, images: 10}"
    done = lab.call(made.command("sensitivity", "--set", images))
    assert done.code == 3 and done.err.count("error: quantize: ") == 1
    assert made.report()["verdict"] == "PASS", "it writes no results"


def test_falling_back_to_the_cpu_says_so(made: Any, lab: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    override = [*NPU, "--set", "compile.if_toolkit_missing=cpu"]
    done = lab.call(made.command("run", *override), PATH=str(tmp_path / "empty"))
    assert done.code == 0, done.err
    assert "fell back to the CPU delegate: no SyNAP toolkit (synap_convert: not on" in words(
        done.out
    )
    assert done.out.count("CPU bundle, not an NPU build") == 2
    compiled = made.report()["compile"]
    assert compiled["delegate"] == "cpu" and compiled["fallback"].startswith("no SyNAP toolkit")


# What is missing, and what is wrong


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("{source: timm, name: test_resnet.r160_in1k}", "test_resnet.r160_in1k"),
        ("{source: checkpoint, name: test_resnet}", "a weights file of test_resnet"),
    ],
)
def test_everything_missing_is_said_at_once(
    lab: Any, pipeline: Any, tmp_path: Path, model: str, weights: str
) -> None:
    (tmp_path / "empty").mkdir()
    recipe = tmp_path / "r.yaml"
    text = re.sub("model: .*", f"model: {model}", lab.RECIPE).replace("  folder: images\n", "")
    recipe.write_text(text.replace("delegate: cpu", "delegate: npu"))
    artifacts = tmp_path / "artifacts"
    nothing = {"PATH": str(tmp_path / "empty"), "HF_HOME": str(tmp_path / "hub")}
    done = pipeline("run", recipe, "--artifacts", artifacts, **nothing)
    assert done.code == 3
    said = words(done.err)
    assert said.startswith("error: 3 things are missing, so nothing was started:")
    for thing in (weights, "ImageNet images: no folder was given", "the SyNAP toolkit", "make demo",
                  "DATA=", "WEIGHTS=", "--set compile.delegate=cpu"):  # fmt: skip
        assert thing in said, thing
    assert "Traceback" not in done.err
    assert not list(artifacts.rglob("entry.json"))
    # Until quantize the toolkit is not needed.
    done = pipeline("run", recipe, "--artifacts", artifacts, "--until", "quantize", **nothing)
    assert done.code == 3 and "2 things are missing" in done.err and "toolkit" not in done.err


def test_files_that_are_given_but_not_there(made: Any, tmp_path: Path) -> None:
    done = made.run("--weights", tmp_path / "no.pth", "--data", tmp_path / "nowhere")
    assert done.code == 3
    assert "2 things are missing" in done.err
    assert f"{tmp_path / 'no.pth'} does not exist" in words(done.err)
    assert f"{tmp_path / 'nowhere'} does not exist" in words(done.err)


def test_weights_need_not_be_there_again(made: Any, tmp_path: Path, lab: Any) -> None:
    # The file is what counts, not where it is.
    moved = tmp_path / "moved.safetensors"
    shutil.copy(made.weights, moved)
    before = {kind: made.entries(kind) for kind in KINDS}
    done = made.run("--weights", moved, "--data", made.images)
    assert done.code == 0, done.err
    assert new_entries(made, before) == {}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["run", "RECIPE", "--target", "sl1681"], "unknown target 'sl1681' did you mean 'sl1680'?"),
        (["run", "RECIPE", "--until", "quantise"], "--until: unknown stage 'quantise' did you mean 'quantize'?"),
        (["run", "RECIPE", "--until", "zzz"], "stages: weights, export, "),
        (["run", "RECIPE", "--set", "quantize.scheme=asymetric"], "did you mean 'asymmetric_affine'?"),
        (["run", "RECIPE", "--set", "nonsense"], "write key.key=value"),
        (["run", "nowhere.yaml"], "nowhere.yaml: there is no such recipe"),
        (["plan", "RECIPE", "--until", "quantise"], "did you mean 'quantize'?"),
        (["run", "RECIPE", "--wieghts", "x"], "No such option"),
        (["run"], "Missing argument"),
        (["rnu"], "No such command"),
        (["run", "RECIPE", "--threads", "-1"], "--threads"),
        (["run", "RECIPE", "--threads", "many"], "--threads"),
        (["evaluate", "m.pb", "--data", "."], "cannot evaluate m.pb known: .onnx, .tflite, .synap"),
        (["evaluate", "m.onnx"], "Missing option"),
        (["sensitivity", "RECIPE"], "the recipe has none"),
        (["sensitivity", "RECIPE", "--max-drop", "5"], "--max-drop"),
        (["subset", "--dataset", "digits", "--images", "5", "--output", "."], "--output"),
    ],
)  # fmt: skip
def test_a_wrong_command_line(
    tiny: Path, pipeline: Any, argv: list[str], expected: str, tmp_path: Path
) -> None:
    given = [str(tiny / "tiny.yaml") if word == "RECIPE" else word for word in argv]
    if argv[0] in ("run", "plan") and len(argv) > 1:
        given += ["--artifacts", str(tmp_path)]
    done = pipeline(*given)
    assert done.code == 2, done.err
    assert expected in words(done.err.replace("│", " "))
    assert "Traceback" not in done.err and done.out == ""


def test_a_wrong_recipe_names_its_lines(lab: Any, pipeline: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        lab.RECIPE.replace("quantize: {data_type: uint8", "quantize: {data_type: uint9")
    )
    done = pipeline("run", recipe)
    assert done.code == 2
    assert done.err == (
        f"error: {recipe}:9: quantize.data_type: unknown 'uint9'; did you mean 'uint8'?\n"
    )


def test_a_traceback_only_with_debug(pipeline: Any) -> None:
    assert "Traceback" not in pipeline("run", "nowhere.yaml").err
    for argv in (["--debug", "run", "nowhere.yaml"], ["run", "nowhere.yaml", "--debug"]):
        done = pipeline(*argv)
        assert "Traceback" in done.err and "UsageError" in done.err
        assert done.code == 2, "the exit code is the same with the traceback"


def test_the_version(pipeline: Any) -> None:
    from pipeline import __version__

    done = pipeline("--version")
    assert (done.code, done.out) == (0, f"{__version__}\n")


def test_a_reader_that_goes_away(made: Any, lab: Any) -> None:
    command = shlex.join(made.command("plan"))
    done = subprocess.run(
        ["sh", "-c", f"{command} | true"], capture_output=True, text=True, env=lab.environment(),
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


# evaluate


@pytest.fixture(scope="module")
def judged(first_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of just the images that judged the first run."""
    from pipeline.data.digest_index import DigestIndex
    from pipeline.data.draw import draw_samples
    from pipeline.progress import Silent
    from pipeline.recipe_file import load_recipe

    setting, _ = first_run
    file = load_recipe(setting.recipe)
    root = tmp_path_factory.mktemp("judged")
    index = DigestIndex(root / "index.json")
    drawn = draw_samples(file.recipe.data, None, file.folder, index, Silent())
    (root / "images").mkdir()
    for sample in drawn.evaluation.items:
        shutil.copy(setting.images / sample.id, root / "images")
    return root / "images"


@pytest.mark.parametrize(
    ("stage", "name"),
    [("export", None), ("quantize", None), ("lower", None), ("compile", "model.synap")],
)
def test_evaluating_a_file_gives_the_reports_accuracy(
    first_run: Any, judged: Path, pipeline: Any, tmp_path: Path, stage: str, name: str | None
) -> None:
    setting, _ = first_run
    [entry] = [s for s in setting.report()["stages"] if s["name"] == stage]
    file = setting.artifacts / entry["artifact"]["path"]
    if name is not None:
        file = setting.artifacts / "tiny" / "sl1680" / name
    argv = ["evaluate", file, "--data", judged, "--artifacts", tmp_path, "--threads", "2"]
    done = pipeline(*argv, "--json")
    assert done.code == 0, done.err
    assert set(done.json) == {*CHECK, "preprocess", "label_offset"}
    for field in ("images", "top1", "top5"):
        assert done.json[field] == entry["check"][field], field
    assert (done.json["evidence"], done.json["required"]) == ("measured", False)
    done = pipeline(*argv)
    assert f"top-1 {100 * entry['check']['top1']:.2f} %" in done.out
    assert "60 images, measured" in done.out


def test_an_output_too_many_has_to_be_explained(
    first_run: Any, judged: Path, pipeline: Any, tmp_path: Path
) -> None:
    """Ten outputs and nine folders: nobody but the user knows which output is none of the nine."""
    setting, _ = first_run
    nine = tmp_path / "nine"
    shutil.copytree(judged, nine)
    for picture in nine.iterdir():
        (nine / picture.name.split("_")[0]).mkdir(exist_ok=True)
        picture.rename(nine / picture.name.split("_")[0] / picture.name)
    shutil.rmtree(sorted(nine.iterdir())[0])
    bundle = setting.artifacts / "tiny" / "sl1680" / "model.synap"
    argv = ["evaluate", bundle, "--data", nine, "--dataset", "folder", "--artifacts", tmp_path]
    done = pipeline(*argv)
    assert (done.code, done.out) == (2, "")
    assert "10 outputs for 9 classes" in done.err and "--label-offset 0 if it is not" in done.err
    with_background, without = (pipeline(*argv, "--label-offset", n, "--json") for n in "10")
    assert (with_background.code, without.code) == (0, 0), without.err
    assert with_background.json["top1"] > without.json["top1"]
    assert "background" not in with_background.err + without.err


def test_evaluating_as_the_device_prepares_pictures(
    first_run: Any, judged: Path, pipeline: Any, lab: Any, tmp_path: Path
) -> None:
    """By hand: the device's crops through the same model, beside the model's own view."""
    from PIL import Image

    from pipeline.data.device_view import DeviceView
    from pipeline.runners import open_runner

    setting, _ = first_run
    [entry] = [s for s in setting.report()["stages"] if s["name"] == "quantize"]
    file = setting.artifacts / entry["artifact"]["path"]
    argv = ["evaluate", file, "--data", judged, "--artifacts", tmp_path, "--preprocess", "device"]
    done = pipeline(*argv, "--json")
    assert done.code == 0, done.err
    view, runner = DeviceView(size=64), open_runner("qdq-onnx", file, None, 2)
    hits = []
    for path in sorted(judged.rglob("*.JPEG")):
        logits = runner(view.crop_image(Image.open(path))[None])
        hits.append(int(logits.argmax()) == lab.SYNSETS.index(path.name.split("_")[0]))
    assert done.json["preprocess"] == "device"
    assert done.json["top1"] == pytest.approx(sum(hits) / len(hits))
    own = done.json["model_view"]
    assert own["top1"] == entry["check"]["top1"]
    assert done.json["gap"] == pytest.approx(own["top1"] - done.json["top1"])
    assert done.json["agreement"] < 1  # with the model's own view: the crops do differ
    assert "a gap of" in pipeline(*argv).out


def test_evaluating_a_few_images(
    first_run: Any, judged: Path, pipeline: Any, tmp_path: Path
) -> None:
    setting, _ = first_run
    bundle = setting.artifacts / "tiny" / "sl1680" / "model.synap"
    done = pipeline(
        "evaluate", bundle, "--data", judged, "--images", "7", "--json", "--artifacts", tmp_path
    )
    assert done.code == 0, done.err
    assert done.json["images"] == 7


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "no such"), (b"", "refuses the model"), (b"text", "refuses the model")],
)
def test_evaluating_what_is_no_model(
    judged: Path, pipeline: Any, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    done = pipeline("evaluate", path, "--data", judged, "--artifacts", tmp_path)
    assert done.code == 3
    assert expected in done.err and str(path) in done.err
    assert "Traceback" not in done.err and "unexpected" not in done.err


def test_evaluating_a_damaged_bundle(
    first_run: Any, judged: Path, pipeline: Any, tmp_path: Path
) -> None:
    setting, _ = first_run
    content = bytearray((setting.artifacts / "tiny" / "sl1680" / "model.synap").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.synap").write_bytes(content)
    done = pipeline("evaluate", tmp_path / "m.synap", "--data", judged, "--artifacts", tmp_path)
    assert done.code == 3
    assert "unexpected" not in done.err and "m.synap" in done.err


def test_evaluating_on_no_images(first_run: Any, pipeline: Any, tmp_path: Path) -> None:
    setting, _ = first_run
    (tmp_path / "empty").mkdir()
    bundle = setting.artifacts / "tiny" / "sl1680" / "model.synap"
    done = pipeline("evaluate", bundle, "--data", tmp_path / "empty", "--artifacts", tmp_path)
    assert done.code == 3 and "is empty" in done.err
