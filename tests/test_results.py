"""What is left of a results folder where something of a run that did not fail cannot be written."""

import shutil
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("kind", "lost"),
    [("report", {"report.html", "README.md"}), ("examples", {"README.md"})],
)
def test_no_file_of_an_earlier_run_is_left_beside_a_new_report(
    made: Any, kind: str, lost: set[str]
) -> None:
    folder = made.artifacts / "tiny" / "sl1640"
    before = {path.name for path in folder.iterdir()}
    assert lost < before
    # The store can neither find nor make entries of this kind.
    shutil.rmtree(made.store / kind)
    (made.store / kind).write_text("a file")
    done = made.run("--target", "sl1640")
    assert done.code == 3 and "Traceback" not in done.err
    assert "writing the results to" in done.err
    assert before - {path.name for path in folder.iterdir()} == lost
    (made.store / kind).unlink()
    assert made.run("--target", "sl1640").code == 0
    assert {path.name for path in folder.iterdir()} == before
