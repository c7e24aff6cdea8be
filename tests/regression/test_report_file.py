"""Reports and baselines that are damaged, foreign or missing: one error in words each."""

import contextlib
import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError, StageError, UsageError
from pipeline.regression.baseline import BASELINE_SCHEMA, read_baseline
from pipeline.regression.report_file import REPORT_SCHEMA, read_report
from pipeline.report import json_report

READERS = (read_report, read_baseline)


def test_the_schema_is_the_writers() -> None:
    assert json_report.SCHEMA == REPORT_SCHEMA


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON: nested too deeply"),
        (b'{"schema": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b"[]", "holds no object"),
        (b"null", "holds no object"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"{}", "schema: is missing"),
        (b'{"schema": "1"}', "schema: is no whole number"),
        (b'{"schema": true}', "schema: is no whole number"),
        (b'{"schema": NaN}', "is not"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, read: Any, content: bytes, said: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(StageError) as error:
        read(path)
    assert said in error.value.what
    assert (error.value.where, error.value.exit_code) == (str(path), 3)
    assert error.value.hint


@pytest.mark.parametrize("read", READERS)
def test_what_cannot_be_read(tmp_path: Path, read: Any) -> None:
    with pytest.raises(StageError, match="there is no such file"):
        read(tmp_path / "none.json")
    with pytest.raises(StageError, match="cannot be read"):
        read(tmp_path)
    large = tmp_path / "large.json"
    large.touch()
    os.truncate(large, 33 * 2**20)
    with pytest.raises(StageError, match="larger than 32 MB"):
        read(large)


def test_another_schema_is_another_thing(desk: Any) -> None:
    desk.write(lambda report: report.update(schema=REPORT_SCHEMA + 1))
    with pytest.raises(UsageError, match="schema 2") as error:
        read_report(desk.report)
    assert error.value.exit_code == 2
    data = json.loads(desk.baseline.read_text())
    desk.baseline.write_text(json.dumps(data | {"schema": BASELINE_SCHEMA + 1}))
    with pytest.raises(UsageError, match="schema 2"):
        read_baseline(desk.baseline)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"top1": 1.5}, "top1"),
        ({"top1": "0.9"}, "top1"),
        ({"top1": True}, "top1"),
        ({"images": 0}, "an accuracy, but of no images"),
        ({"sha256": "no digest"}, "sha256"),
        ({"bytes": -1}, "bytes"),
        ({"seconds": None}, "seconds"),
        ({"evidence": "hearsay"}, "evidence"),
        ({"artifact": []}, "artifact"),
        ({"name": "../x"}, "name"),
        ({"name": "export"}, "a stage stands there twice"),
    ],
)
def test_a_damaged_stage_is_named(desk: Any, changes: Any, stage: Any, said: str) -> None:
    in_stage, _ = changes
    desk.write(in_stage("quantize", **stage))
    with pytest.raises(StageError) as error:
        read_report(desk.report)
    assert said in error.value.what


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", ".hidden", "a\\b", "", "a\nb", "a\0"])
def test_a_recipes_name_is_no_path(desk: Any, name: str) -> None:
    desk.write(lambda report: report.update(recipe=name))
    with pytest.raises(StageError, match="recipe"):
        read_report(desk.report)


def test_a_report_from_before_the_preprocessing_was_in_it(desk: Any) -> None:
    desk.write(lambda report: report["data"].pop("preprocess"))
    with pytest.raises(StageError, match=r"data\.preprocess: is missing"):
        read_report(desk.report)


def test_many_errors_are_not_all_listed(desk: Any) -> None:
    desk.write(lambda report: [stage.pop("check") for stage in report["stages"]])
    with pytest.raises(StageError, match=r"; and \d+ more"):
        read_report(desk.report)


def test_a_baseline_of_unknown_keys(desk: Any) -> None:
    data = json.loads(desk.baseline.read_text())
    desk.baseline.write_text(json.dumps(data | {"comment": "raised by hand"}))
    with pytest.raises(StageError, match="comment"):
        read_baseline(desk.baseline)


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.just([]), st.just({}),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_a_value_that_is_replaced_is_read_or_refused_in_words(desk: Any, data: Any) -> None:
    """Wherever it is, whatever it is: no other exception than the project's own."""
    report = copy.deepcopy(desk.original)
    parent: Any = report
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(parent[key], (dict, list)) or not parent[key] or data.draw(st.booleans()):
            break
        parent = parent[key]
    parent[key] = data.draw(_VALUES)
    desk.report.write_text(json.dumps(report))
    with contextlib.suppress(PipelineError):
        read_report(desk.report)
