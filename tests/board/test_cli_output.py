"""What `synap_cli_ic` prints, and what it should not."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.board.board_error import OutputError
from pipeline.board.cli_output import read_output

TIME = "Classification time: 12.3 ms (pre:1000us, inf:11000us, post:300us)"
LOGITS = [[0.5, -1.25, 7.0], [3.0, 1e-3, -20.0]]
NAMES = ["000000.png", "000001.png"]


def result(logits: list[float], **changes: Any) -> dict[str, Any]:
    items = [{"class_index": i, "confidence": value} for i, value in enumerate(logits)]
    items.sort(key=lambda item: -item["confidence"])
    return {"items": items, "success": True, **changes}


def record(name: str, logits: list[float], time: str = TIME, indent: int | None = None) -> str:
    return f"Input image: {name}\n{time}\n{json.dumps(result(logits), indent=indent)}\n"


def output(**options: Any) -> str:
    return "".join(record(n, values, **options) for n, values in zip(NAMES, LOGITS, strict=True))


def refused(text: str, classes: int = 3, names: list[str] = NAMES) -> str:
    with pytest.raises(OutputError) as caught:
        read_output(text, names, classes)
    assert caught.value.hint
    return caught.value.what


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_documented_output(indent: int | None, end: str) -> None:
    logits, milliseconds = read_output(output(indent=indent).replace("\n", end), NAMES, 3)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, np.array(LOGITS, np.float32))
    np.testing.assert_array_equal(milliseconds, [11.0, 11.0])


def test_other_lines_are_let_pass() -> None:
    text = "Loading network: ../model.synap\n" + output().replace(TIME, f"a warning\n{TIME}\n\n")
    logits, _ = read_output(text + "\nbye\n", NAMES, 3)
    np.testing.assert_array_equal(logits, np.array(LOGITS, np.float32))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("Classification time: 12.3 ms (pre:1000us, inf:11000us, post:300us)", 11.0),
        ("Classification time: 12.3 ms (pre: 1.0 ms, inf: 11.0 ms, post: 0.3 ms)", 11.0),
        ("Classification time: 12.3ms (pre:1.0,inf:11.0,post:0.3)", 11.0),
        ("Classification time: 12.3 ms (pre:1000, inf:11000, post:300)", 11.0),
        ("Classification time: 12.3 ms (pre:1e3us, inf:1.1e4us, post:300us)", 11.0),
        ("Classification time: 12.3 ms (pre:1 ms, inf:11000 µs, post:300000 ns)", 11.0),
        ("Classification time: 0.0123 s (pre:1ms, inf:11ms, post:0ms)", 11.0),
        ("Classification time: 0.0 ms (pre:0, inf:0, post:0)", 0.0),
    ],
)
def test_times(time: str, expected: float) -> None:
    _, milliseconds = read_output(output(time=time), NAMES, 3)
    np.testing.assert_allclose(milliseconds, expected)


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ("Classification time: 12.3 ms", "no line with its classification time"),
        ("Classification time: fast (pre:1us, inf:2us, post:3us)", "no line"),
        ("Classification time: -12.3 ms (pre:1us, inf:2us, post:3us)", "no line"),
        ("Classification time: nan ms (pre:1us, inf:2us, post:3us)", "no line"),
        ("Classification time: 12.3 ms (pre:1000us, inf:11000ms, post:300us)", "do not add up"),
        ("Classification time: 12.3 ms (pre:1000us, inf:11000, post:300us)", "do not add up"),
        # Neither in ms nor in us do these make up the whole.
        ("Classification time: 12.3 ms (pre:0.001, inf:0.011, post:0.0003)", "do not add up"),
        ("Classification time: 12.3 ms (pre:100, inf:1100, post:30)", "do not add up"),
        ("Classification time: 1e999 ms (pre:1e999us, inf:1e999us, post:1us)", "without end"),
        (f"{TIME}\n{TIME}", "several times"),
    ],
)
def test_times_that_are_none(time: str, words: str) -> None:
    assert words in refused(output(time=time))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"items": [], "success": True}, "no class"),
        (result(LOGITS[0], success=False), "success: False"),
        (result(LOGITS[0], success="true"), "success"),
        ({"items": result(LOGITS[0])["items"]}, "success: None"),
        ({"success": True}, "without a list"),
        ({"items": {}, "success": True}, "without a list"),
        ({"items": [3], "success": True}, "no class with its confidence"),
        ({"items": [{"class_index": 0}], "success": True}, "no class with its confidence"),
        ({"items": [{"class_index": "0", "confidence": 1.0}], "success": True}, "no class with"),
        ({"items": [{"class_index": 0, "confidence": "1.0"}], "success": True}, "no class with"),
        ({"items": [{"class_index": 0, "confidence": True}], "success": True}, "no class with"),
        ({"items": [{"class_index": True, "confidence": 1.0}], "success": True}, "no class with"),
        ({"items": [{"class_index": 0.0, "confidence": 1.0}], "success": True}, "no class with"),
        ({"items": [{"class_index": 0, "confidence": 1e39}], "success": True}, "no class with"),
        ({"items": [{"class_index": 0, "confidence": 10**400}], "success": True}, "no class with"),
        (result([*LOGITS[0], 0.0]), "4 classes, where 3 were expected"),
        (result(LOGITS[0][:2]), "2 classes, where 3 were expected"),
        ({"items": [{"class_index": i, "confidence": 1.0} for i in (0, 1, 3)], "success": True},
         "are not 0 to 2"),
        ({"items": [{"class_index": i, "confidence": 1.0} for i in (-1, 0, 1)], "success": True},
         "are not 0 to 2"),
        ({"items": [{"class_index": i, "confidence": 1.0} for i in (0, 1, 1)], "success": True},
         "class 1 twice"),
    ],
)  # fmt: skip
def test_results_that_are_none(data: dict[str, Any], words: str) -> None:
    text = f"Input image: a.png\n{TIME}\n{json.dumps(data)}\n"
    what = refused(text, names=["a.png"])
    assert words in what and "a.png" in what


@pytest.mark.parametrize(
    ("json_text", "words"),
    [
        ("", "no JSON"),
        ("Class  Confidence  Description\n   1   18.9  goldfish", "no JSON"),
        ('{"items": [{"class_index": 0, "confidence": NaN}], "success": true}', "NaN is no number"),
        ('{"items": [{"class_index": 0, "confidence": 1e999}], "success": true}', "no class with"),
        ('{"items": [{"class_index": 0, "conf', "ends or breaks"),
        ('{"a":' * 100_000, "ends or breaks"),
        ('{"a":' + "9" * 10_000, "ends or breaks"),
        (json.dumps(result(LOGITS[0])) * 2, "several results"),
    ],
)
def test_json_that_is_none(json_text: str, words: str) -> None:
    assert words in refused(f"Input image: a.png\n{TIME}\n{json_text}\n", names=["a.png"])


def test_images_that_are_missing() -> None:
    second = record(NAMES[1], LOGITS[1])
    assert "1 of 2 images are not in the output, the first is 000000.png" in refused(second)
    assert "2 of 2" in refused("")


def test_images_in_another_order_or_twice() -> None:
    first, second = (record(n, values) for n, values in zip(NAMES, LOGITS, strict=True))
    assert "once and in order" in refused(second + first)
    assert "once and in order" in refused(first + first + second)


def test_a_number_of_classes_that_changes() -> None:
    text = record(NAMES[0], LOGITS[0]) + record(NAMES[1], LOGITS[1][:2])
    assert refused(text).endswith("2 classes, where 000000.png has 3")


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), min_size=1),
       st.sampled_from([None, 0, 3]))  # fmt: skip
def test_what_is_printed_is_read_back(values: list[list[float]], indent: int | None) -> None:
    names = [f"{i}.png" for i in range(len(values))]
    text = "".join(record(n, v, indent=indent) for n, v in zip(names, values, strict=True))
    logits, _ = read_output(text, names, 4)
    np.testing.assert_array_equal(logits, np.array(values, np.float32))


@given(st.integers(0, len(output()) - 1))
def test_no_output_that_was_cut_is_taken(end: int) -> None:
    """The last line break may be missing, nothing else."""
    if output()[:end].rstrip() != output().rstrip():
        refused(output()[:end])


@given(st.data())
def test_garbled_output_is_refused_or_has_its_form(data: st.DataObject) -> None:
    text = output(indent=data.draw(st.sampled_from([None, 2])))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        piece = data.draw(st.one_of(
            st.text(max_size=12),
            st.sampled_from(["", "{", "}", "\n", ",", "NaN", "-", "1e999", "Input image: ", TIME]),
            st.just(text[start : start + 200]),
        ))  # fmt: skip
        text = text[:start] + piece + text[end:]
    try:
        logits, milliseconds = read_output(text, NAMES, 3)
    except OutputError:
        return
    assert logits.shape == (2, 3) and np.isfinite(logits).all()
    assert milliseconds.shape == (2,) and np.isfinite(milliseconds).all()
    assert (milliseconds >= 0).all()


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    refused(text)
