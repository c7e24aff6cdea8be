"""A card is held against its artifacts: whatever was changed is said in words."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.commands.card import card
from pipeline.errors import PipelineError, StageError
from pipeline.report.card_check import check_card
from pipeline.report.card_example import NoExample
from pipeline.report.card_mark import NoMark, mark_of, mark_text, read_mark

app = typer.Typer()
app.command()(card)


def faults(results: Any) -> tuple[str, ...]:
    return check_card(results.folder, 2).faults


def test_an_untouched_card_holds(results: Any) -> None:
    found = check_card(results.folder, 2)
    assert (found.faults, found.notes, found.exit_code) == ((), (), 0)


def test_a_number_of_the_table(results: Any) -> None:
    top1 = f"{100 * results.report['stages'][-1]['check']['top1']:.2f}"
    line = next(
        line for line in results.card.read_text().splitlines() if line.startswith("| compile |")
    )
    results.replace(line, line.replace(f"| {top1} % |", "| 99.99 % |", 1))
    (fault,) = faults(results)
    assert f"says 99.99 where its artifacts give {top1}" in fault
    assert re.match(r"README\.md, line \d+ \(Accuracy\)", fault)


def test_a_verdict(results: Any) -> None:
    results.replace("run: **PASS**", "run: **FAIL**")
    (fault,) = faults(results)
    assert "**FAIL**" in fault and "where its artifacts give" in fault


def test_a_number_that_the_hub_reads(results: Any) -> None:
    text = results.card.read_text()
    value = re.findall(r"value: (\S+)", text)[0]
    results.card.write_text(text.replace(f"value: {value}", "value: 0.999", 1))
    (fault,) = faults(results)
    assert "says 0.999" in fault


def test_a_warning_that_was_taken_out(results: Any) -> None:
    results.replace("> **CPU bundle, not an NPU build.** SyNAP's runtime runs it on the CPU of the board.\n", "")  # fmt: skip
    (fault,) = faults(results)
    assert "a line was taken out" in fault and "CPU bundle, not an NPU build" in fault


def test_what_somebody_added(results: Any) -> None:
    with results.card.open("a") as stream:
        stream.write("\nWe use it in a lamp.\n")
    assert faults(results) == ()
    with results.card.open("a") as stream:
        stream.write("It takes 3.5 ms.\n")
    (fault,) = faults(results)
    assert 'no artifact gives the line "It takes 3.5 ms."' in fault


def test_an_example_that_was_made_up_in_both_places(results: Any) -> None:
    mark = read_mark(results.card.read_text())
    assert mark.example is not None
    index, confidence = mark.example.top[0]
    text = results.card.read_text()
    text = text.replace(f"{confidence:12.4f}", f"{confidence + 5:12.4f}", 1)
    results.card.write_text(text.replace(f"[{index}, {confidence}]", f"[{index}, {confidence + 5}]"))  # fmt: skip
    (fault,) = faults(results)
    assert fault.startswith(f"the example output: class {index} has ")


def test_an_example_of_another_cpu_is_not_judged(results: Any) -> None:
    cpu = read_mark(results.card.read_text()).example.cpu  # type: ignore[union-attr]
    results.replace(cpu, "a kind of CPU of tomorrow")
    found = check_card(results.folder, 2)
    assert found.faults == ()
    (note,) = found.notes
    assert "the example output was not checked" in note and "of tomorrow" in note


def test_a_swapped_bundle(results: Any) -> None:
    bundle = results.folder / "model.synap"
    bundle.write_bytes(bundle.read_bytes() + b"x")
    found = faults(results)
    assert found[0].startswith("model.synap is another file than the card was written from")
    assert "is not the bundle that report.json measured" in found[1]


def test_a_swapped_bundle_whose_card_agrees(results: Any) -> None:
    """Bundle and digest in the card changed together: the report still knows better."""
    import hashlib

    bundle = results.folder / "model.synap"
    old = hashlib.sha256(bundle.read_bytes()).hexdigest()
    bundle.write_bytes(bundle.read_bytes() + b"x")
    results.replace(old, hashlib.sha256(bundle.read_bytes()).hexdigest())
    assert any("is not the bundle that report.json measured" in fault for fault in faults(results))


@pytest.mark.parametrize(
    "name", ["model.synap", "report.json", "info.json", "sample.png", "run.sh", "README.md"]
)
def test_a_missing_file(results: Any, name: str) -> None:
    (results.folder / name).unlink()
    assert f"{name} is missing" in faults(results)


def test_a_damaged_picture_hides_no_other_fault(results: Any) -> None:
    """Pixels that seem to end early, which Pillow answers with a SyntaxError."""
    picture = results.folder / "sample.png"
    content = bytearray(picture.read_bytes())
    length = slice(content.index(b"IDAT") - 4, content.index(b"IDAT"))
    content[length] = (100).to_bytes(4, "big")
    picture.write_bytes(content)
    results.replace("run: **PASS**", "run: **FAIL**")
    found = faults(results)
    assert found[0].startswith("sample.png is another file than the card was written from")
    assert "**FAIL**" in found[1]
    assert found[2].startswith("the example output cannot be computed: ")
    assert "cannot be decoded" in found[2] and "broken_images" not in found[2]
    assert len(found) == 3


@pytest.mark.parametrize("name", ["info.json", "sample.png", "run.sh", "metafile.yaml"])
def test_a_file_that_is_not_named(results: Any, name: str) -> None:
    mark = read_mark(results.card.read_text())
    files = {file: digest for file, digest in mark.files.items() if file != name}
    results.replace(mark_text(mark), mark_text(mark.model_copy(update={"files": files})))
    assert f"README.md does not name the digest of {name}" in faults(results)


def test_a_changed_report(results: Any) -> None:
    results.change_report(lambda report: report["stages"][-1]["check"].update(top1=0.123))
    found = faults(results)
    assert found[0].startswith("report.json is another file than the card was written from")
    assert any("where its artifacts give 12.30" in fault for fault in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "# My model\n", "no machine-readable part"),
        (lambda text: text + text[text.index("<!-- card:") :], "several machine-readable parts"),
        (lambda text: text.replace('"version": 3', '"version": 2'), "another version"),
        (lambda text: text.replace('{"example"', '["example"'), "not JSON"),
        (lambda text: text.replace('"files": {', '"files": {"../x": "", '), "damaged"),
        (lambda text: text.replace('"cpu"', '"gpu"'), "damaged"),
        (lambda text: re.sub("<!-- card: .* -->", f"<!-- card: {'[' * 9999} -->", text), "damaged"),
        (lambda text: "x" * 2**21, "larger than a card can be"),
    ],
)
def test_what_is_no_card(results: Any, change: Any, said: str) -> None:
    results.card.write_text(change(results.card.read_text()))
    (fault,) = faults(results)
    assert said in fault


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no such folder"):
        check_card(tmp_path / "none", 1)


@given(st.text(max_size=40))
def test_no_text_ends_the_comment(reason: str) -> None:
    mark = mark_of({"report.json": "0" * 64}, NoExample(reason + "-->\n"))
    text = mark_text(mark)
    assert text.count("-->") == text.count("<!--") == 1 and "\n" not in text
    assert read_mark(f"---\na\n---\n{text}\n") == mark


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_every_digit_that_is_changed_is_found(results: Any, data: Any) -> None:
    """Wherever it stands, in the text or in the comment: one other digit is a fault."""
    original = results.card.read_text(encoding="utf-8")
    places = [match.start() for match in re.finditer(r"[0-9]", original)]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != original[place]]))
    try:
        results.card.write_text(original[:place] + digit + original[place + 1 :], encoding="utf-8")
        found = check_card(results.folder, 2)
    finally:
        results.card.write_text(original, encoding="utf-8")
    # A runtime's version and a CPU's name are changed in one of two places: the text's is a fault,
    # and so is the comment's, because the text no longer follows from it.
    assert found.faults, original[place - 30 : place + 30]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    text = data.decode("latin-1")
    with contextlib.suppress(NoMark):
        read_mark(f"<!-- card: {text} -->")


# The command


def test_the_command(results: Any) -> None:
    runner = CliRunner()
    folder = str(results.folder)
    done = runner.invoke(app, [folder, "--verify"])
    assert (done.exit_code, done.stdout) == (0, f"{results.card}: holds\n")
    results.replace("# tiny for SL1680", "# tiny for SL1640")
    done = runner.invoke(app, [folder, "--verify"])
    assert done.exit_code == 1
    first, last = done.stdout.splitlines()
    assert first.startswith("wrong: README.md, line") and last.endswith(": does not hold")
    done = runner.invoke(app, [folder, "--verify", "--json"])
    assert done.exit_code == 1 and len(json.loads(done.stdout)["faults"]) == 1
    done = runner.invoke(app, [folder, "--threads", "2"])
    assert (done.exit_code, done.stdout) == (0, f"{results.card}\n")
    assert runner.invoke(app, [folder, "--verify"]).exit_code == 0
    done = runner.invoke(app, [str(results.folder / "none")])
    assert isinstance(done.exception, PipelineError)
