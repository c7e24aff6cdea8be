"""The model card: its form, where its numbers come from, and what it does not claim."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from pipeline.errors import StageError
from pipeline.quantities import points
from pipeline.report.card import COMMAND, card_text, write_card
from pipeline.report.card_check import check_card
from pipeline.report.card_example import Example, NoExample, example_of, table
from pipeline.report.report_read import read_shown
from pipeline.runners.synap import SynapRunner
from pipeline.store import Store

SECTIONS = [
    "Model Overview", "Model Features", "Input and Output",
    "Deployment on Synaptics Astra SL1600 Series", "Performance", "License", "Learn More",
]  # fmt: skip


def headings(text: str) -> list[str]:
    return [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]


def details(report: Any) -> Any:
    return report["stages"][0]["details"]


def rewritten(results: Any) -> str:
    write_card(results.folder, 2)
    text: str = results.card.read_text(encoding="utf-8")
    return text


def test_the_hub_reads_it(results: Any) -> None:
    card = ModelCard.load(results.card)
    data = card.data.to_dict()
    assert (data["library_name"], data["pipeline_tag"]) == ("synap", "image-classification")
    assert data["license"] == "unknown"
    assert data["tags"] == ["Image Classification", "Astra SL", "SL1600", "SL1680", "MPU"]
    check = results.report["stages"][-1]["check"]
    found = {r.metric_name.split()[0]: r.metric_value for r in card.data.eval_results}
    assert found == pytest.approx({"top-1": check["top1"], "top-5": check["top5"]}, abs=1e-6)
    assert headings(card.text) == SECTIONS


def test_its_numbers_are_those_of_the_run(results: Any) -> None:
    text = results.card.read_text(encoding="utf-8")
    compiled = results.report["stages"][-1]
    check, artifact = compiled["check"], compiled["artifact"]
    row = next(line for line in text.splitlines() if line.startswith("| compile |"))
    assert f"| {100 * check['top1']:.2f} % |" in row
    assert f"| {points(check['top1_drop'])} |" in row
    assert f"| {check['images']} |" in row
    assert f"{artifact['bytes']:,} bytes, sha256 {artifact['sha256']}" in text
    assert "**CPU bundle, not an NPU build.**" in text
    assert "Weights: not declared by the source." in text
    assert "| Input | input | 1, 3, 64, 64 | float32 | nchw |" in text
    # The vendor's cards give the output the size of the image.
    assert "- **Classes:** 10" in text and "Output Size" not in text


def test_what_the_boards_view_costs_is_named(results: Any) -> None:
    measured = results.report["stages"][-1]["details"]["device_view"]
    low, high = measured["confidence_interval"]
    said = (
        f"top-1 {100 * measured['top1']:.2f} % instead of {100 * measured['model_top1']:.2f} %, on "
        f"{measured['images']} images"
    )
    ends = f"{points(low)} to {points(high)}, each end at {100 * measured['confidence']:.0f} %"
    text = results.card.read_text(encoding="utf-8")
    performance = text[text.index("## Performance") : text.index("### Time")]
    assert said in performance and ends in performance
    # The card is held to it.
    results.replace(said, said.replace("instead of", "instead of 9"))
    (fault,) = check_card(results.folder, 2).faults
    assert "instead of" in fault
    results.change_report(lambda report: report["stages"][-1]["details"].pop("device_view"))
    assert "does it cost was not measured" in rewritten(results)


def test_the_command_is_what_run_sh_does(results: Any) -> None:
    assert (results.folder / "run.sh").read_text().rstrip().endswith(f"&& {COMMAND}")
    assert f"\n```\n{COMMAND}\n```\n" in results.card.read_text(encoding="utf-8")


def test_the_example_is_what_the_bundle_says_of_the_picture(results: Any) -> None:
    crop = np.asarray(Image.open(results.folder / "sample.png"))
    outputs = SynapRunner(results.folder / "model.synap", 1)(crop[None])[0]
    best = int(outputs.argmax())
    names = json.loads((results.folder / "info.json").read_text())["labels"]
    name = names[best] if names else ""
    text = results.card.read_text(encoding="utf-8")
    lines = text[text.index("Class  Confidence  Description") :].splitlines()[:6]
    assert lines[1] == f"{best:5d}{outputs[best]:12.4f}  {name}".rstrip()
    shown = [float(line.split()[1]) for line in lines[1:]]
    assert len(shown) == 5 and shown == sorted(shown, reverse=True)
    assert "Classification time" not in text, "nobody measured one"


def test_the_table_is_the_tools_own() -> None:
    """The lines of a published card, in four decimals as the program of 3.2.0 prints them."""
    labels = ["tench", "goldfish, Carassius auratus"]
    assert table([(1, 18.9874), (112, 9.2959)], labels) == [
        "Class  Confidence  Description",
        "    1     18.9874  goldfish, Carassius auratus",
        "  112      9.2959",
    ]
    assert table([(0, 1.0)], ["a\x1b[31m\n```"])[1] == "    0      1.0000  a\\x1b[31m\\n```"


def test_the_example_is_kept_in_the_store(results: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", lambda text: None)
    report = read_shown(results.folder / "report.json")
    first = example_of(results.folder, report, 2, store)
    (entry,) = (tmp_path / "store" / "examples").glob("*/entry.json")
    before = entry.stat().st_mtime_ns
    assert example_of(results.folder, report, 2, store) == first == example_of(results.folder, report, 1)  # fmt: skip
    assert entry.stat().st_mtime_ns == before
    Image.new("RGB", (64, 64), (200, 10, 10)).save(results.folder / "sample.png")
    assert example_of(results.folder, report, 2, store) != first


def as_npu(report: Any) -> None:
    report["compile"].update(delegate="npu", handoff="onnx", toolkit="native", toolkit_version="3.2.0")  # fmt: skip
    report["stages"][-1]["check"].update(evidence="predicted", reason="within 3.00")


def test_an_npu_build_shows_what_it_was_compiled_from(results: Any, first_run: Any) -> None:
    setting, _ = first_run
    results.change_report(as_npu)
    text = rewritten(results)
    assert "No example output: an NPU build cannot be run here" in text
    assert "Compiled for the NPU, not run on one." in text
    assert "The time on the NPU was not measured." in text
    assert "SyNAP toolkit 3.2.0, from onnx" in text and "Synaptics Astra EULA" in text
    assert "predicted: the model it was made from was run instead" in text
    store = results.folder.parents[1] / ".store"
    shutil.copytree(setting.store / "quantize", store / "quantize")
    text = rewritten(results)
    assert "by the qdq-onnx model that the bundle was compiled from" in text
    assert check_card(results.folder, 2).faults == ()
    # A model that was changed since is not the one.
    (quantized,) = store.glob("quantize/*/model.onnx")
    quantized.write_bytes(quantized.read_bytes()[:-1] + b"?")
    assert "No example output" in rewritten(results)


def as_given_onnx(report: Any) -> None:
    """As of a `quantized-onnx`, whose `quantize` renders what was given."""
    as_npu(report)
    kept = {"export", "quantize", "lower", "compile"}
    report["stages"] = [stage for stage in report["stages"] if stage["name"] in kept]
    (quantized,) = [stage for stage in report["stages"] if stage["name"] == "quantize"]
    quantized["details"] = {"quantized_tensors": 9, "proof": {}}


def as_given_tflite(report: Any) -> None:
    as_npu(report)
    stage = copy.deepcopy(report["stages"][-1])
    report["stages"] = [{**stage, "name": "lower", "details": {}}, report["stages"][-1]]
    for stage in report["stages"]:
        stage["check"].update(top1_drop=None, confidence_interval=None)


@pytest.mark.parametrize(
    ("given", "form", "against"),
    [
        (as_given_onnx, "ONNX", "against the file's own float graph, whose weights are rounded"),
        (as_given_tflite, "TFLite", "There was no float model to measure a drop against."),
    ],
)
def test_a_model_that_came_quantized_is_not_said_to_be_calibrated(
    results: Any, given: Any, form: str, against: str
) -> None:
    before = results.card.read_text(encoding="utf-8")
    ours = ("from float weights", "calibrated on ", "calibration images", "against the float model")
    assert all(words in before for words in ours)
    results.change_report(given)
    text = rewritten(results)
    assert not any(words in text for words in ours)
    assert f"from a model that came as quantized {form}," in text and against in text
    assert "nothing was calibrated" in text
    assert ("(export)" in text) == (form == "ONNX")
    assert check_card(results.folder, 2).faults == ()


def as_inception(report: Any) -> None:
    as_npu(report)
    details(report).update(architecture="inception_v4.tf_in1k")
    details(report)["origin"].update(hub="timm/inception_v4.tf_in1k", license="apache-2.0")
    report["data"]["preprocess"]["size"] = 299


def test_a_vendors_time_is_said_to_be_the_vendors(results: Any) -> None:
    results.change_report(as_inception)
    text = rewritten(results)
    (row,) = [line for line in text.splitlines() if "19.59" in line]
    assert "published by Synaptics for its own build" in row and "not measured here" in row
    assert "Weights: apache-2.0." in text
    data = ModelCard.load(results.card).data.to_dict()
    assert (data["license"], data["base_model"]) == ("apache-2.0", "timm/inception_v4.tf_in1k")
    results.change_report(lambda report: report["stages"][-1]["check"].update(latency_ms=21.5, evidence="board"))  # fmt: skip
    text = rewritten(results)
    assert "| SL1680 | 21.50 | this bundle, measured on a board, median |" in text
    assert "not run on one" not in text


def test_another_size_is_another_model(results: Any) -> None:
    results.change_report(as_inception)
    results.change_report(lambda report: report["data"]["preprocess"].update(size=75))
    assert "19.59" not in rewritten(results)


def test_texts_of_others_are_no_markup(results: Any) -> None:
    results.change_report(
        lambda report: (
            details(report)["origin"].update(
                file="<img src=x> [a](b) | `c`\n# d", license="MIT -->"
            ),
            report["data"]["evaluation"].update(dataset="a: [b]\n---\nlicense: mit"),
        )
    )
    text = rewritten(results)
    assert "<img" not in text and "MIT -->" not in text and "\n# d" not in text
    assert ModelCard.load(results.card).data.to_dict()["license"] == "unknown"
    assert headings(text) == SECTIONS
    assert check_card(results.folder, 2).faults == ()


def test_a_run_that_did_not_pass_says_so(results: Any) -> None:
    results.change_report(lambda report: report.update(verdict="FAIL"))
    assert "> **The verdict of the run that made it is FAIL**" in rewritten(results)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda report: report["stages"].pop(), "this run made no bundle"),
        (lambda report: report.update(target=None, compile=None), "this run made no bundle"),
        (lambda report: details(report).pop("architecture"), r"stages\.weights\.details\.arch"),
        (
            lambda report: report["stages"][-1]["check"].pop("required"),
            "written by an older version of the pipeline, or is damaged: .*required: is missing",
        ),
        (
            lambda report: report["stages"][-1]["details"]["device_view"].update(top1=94.6),
            r"stages\.compile\.details\.device_view\.top1",
        ),
    ],
)
def test_a_report_that_gives_no_card(results: Any, change: Any, said: str) -> None:
    before = results.card.read_bytes()
    results.change_report(change)
    with pytest.raises(StageError, match=said):
        write_card(results.folder, 2)
    assert results.card.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.synap", b"other", "not the bundle that report.json measured"),
        ("model.synap", None, "no such file"),
        ("info.json", b"[", "no list of labels"),
        ("info.json", b'{"labels": [1]}', "no list of texts"),
        ("sample.png", b"no picture", "is neither JPEG nor PNG"),
        ("sample.png", None, "no such file"),
    ],
)
def test_files_that_are_damaged_or_missing(
    results: Any, name: str, content: bytes | None, said: str
) -> None:
    path = results.folder / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StageError, match=said):
        write_card(results.folder, 2)


def test_a_picture_of_another_size(results: Any) -> None:
    Image.new("RGB", (10, 12)).save(results.folder / "sample.png")
    with pytest.raises(StageError, match="is 10x12 pixels, and the model takes 64x64"):
        write_card(results.folder, 2)


def test_the_text_depends_on_nothing_else(results: Any, tmp_path: Path) -> None:
    report = read_shown(results.folder / "report.json")
    outcome = example_of(results.folder, report, 2)
    assert isinstance(outcome, Example)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(results.folder, elsewhere)
    assert card_text(elsewhere, report, outcome) == results.card.read_text(encoding="utf-8")
    assert str(tmp_path) not in results.card.read_text(encoding="utf-8")
    other = card_text(results.folder, report, NoExample("of a reason"))
    assert "No example output: of a reason." in other
