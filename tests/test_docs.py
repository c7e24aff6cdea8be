"""Every command of docs/*.md is run, every link leads somewhere, and tables of facts hold.

Commands stand in ```sh blocks; what needs a board, a network or data of the reader's own stands in
```console or ```text ones. README.md has a test of its own, and so have the pages in `HELD_BY`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
LINKED = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
HELD_BY = {
    "tutorial.md": ("test_tutorial.py", "tutorial.md"),
    "extending.md": ("test_extending.py", "extending.md"),
    "ci.md": ("test_accuracy_job.py", "accuracy.sh"),
}
"""Pages whose commands another test runs, on a model and images of its own, and what it reads."""


def blocks(page: Path, *kinds: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```(?:{'|'.join(kinds)})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(page: Path, *kinds: str) -> list[str]:
    """The lines of the page's blocks; a backslash goes on with the next."""
    lines = [
        line for block in blocks(page, *kinds) for line in block.replace("\\\n", "").splitlines()
    ]
    return [line.removeprefix("$ ") for line in lines if line.strip()]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


HERE = [
    pytest.param(command, id=f"{page.name}: {command}",
                 marks=[pytest.mark.slow] if " -m pipeline run " in command else [])
    for page in PAGES if page.name not in HELD_BY for command in commands(page, "sh")
]  # fmt: skip


def run(command: str) -> subprocess.CompletedProcess[str]:
    """A command, in the tests' own environment instead of .venv, and without a network."""
    words = shlex.split(command, comments=True)
    words = [sys.executable if word == ".venv/bin/python" else word for word in words]
    return subprocess.run(
        words, cwd=ROOT, text=True, capture_output=True, timeout=900, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("command", HERE)
def test_a_command_runs(command: str) -> None:
    done = run(command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", HELD_BY)
def test_the_other_test_reads_the_page(page: str) -> None:
    test, read = HELD_BY[page]
    assert commands(DOCS / page, "sh")
    assert f'"{read}"' in (ROOT / "tests" / test).read_text()


def test_the_ci_job_knows_the_variables_that_its_page_sets() -> None:
    script = (ROOT / "ci" / "accuracy.sh").read_text()
    lines = [line for line in commands(DOCS / "ci.md", "sh") if "ci/accuracy.sh" in line]
    names = {name for line in lines for name in re.findall(r"(\w+)=", line.split("bash")[0])}
    assert names
    for name in names:
        assert re.search(rf"\$\{{?{name}\b", script), name


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_options_in_commands_exist(page: Path) -> None:
    import typer

    from pipeline.cli import app

    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    }
    for command in commands(page, "sh", "console"):
        found = re.match(r"(?:\S*python -m )?pipeline (\w+) (.*)", command)
        if found is None:
            continue
        assert found[1] in known, command
        options = {word for word in shlex.split(found[2], comments=True) if word.startswith("--")}
        assert {option.split("=")[0] for option in options} <= known[found[1]] | {"--help"}, command


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to a page's headings."""
    from pipeline.recipe.reference import anchor

    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return {anchor(heading.strip()) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{named(page)}: {target} does not exist"
        if heading:
            assert heading in anchors(file), f"{named(page)}: {target} has no such heading"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    for page in PAGES:
        assert page.name == "README.md" or f"[{page.name}]({page.name})" in index


RECIPES = [
    pytest.param(block, id=page.name)
    for page in PAGES if page.name not in HELD_BY
    for block in blocks(page, "yaml") if block.startswith("schema:")
]  # fmt: skip


@pytest.mark.parametrize("text", RECIPES)
def test_a_whole_recipe_loads(text: str, tmp_path: Path) -> None:
    from pipeline.recipe_file import load_recipe

    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    load_recipe(path, ())


def between(page: str, name: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.DOTALL)
    return str(found)


def chain_table() -> dict[str, list[str]]:
    """By source, the stages that docs/stages.md says."""
    rows = [row.strip("|").split("|") for row in between("stages.md", "chains").splitlines()[2:]]
    return {
        source: re.findall(r"`([^`]+)`", row[1])
        for row in rows
        for source in re.findall(r"`([^`]+)`", row[0])
    }


def test_the_chains_are_those_that_are_run() -> None:
    from pipeline.recipe import Recipe, SourceName
    from pipeline.stages import chain_of

    table = chain_table()
    assert set(table) == set(get_args(SourceName))
    draw = {"dataset": "folder", "images": 8}
    for source in get_args(SourceName):
        recipe = Recipe.model_validate(
            {
                "schema": 1,
                "model": {"source": source, "name": "some"},
                "data": {"preprocess": {"size": 32}, "calibration": draw, "selection": draw,
                         "evaluation": draw},
            }
        )  # fmt: skip
        assert [stage.name for stage in chain_of(recipe)] == table[source], source


def test_plan_prints_what_the_page_shows() -> None:
    """To the letter after a demo; without one, at least its stages are named."""
    before, command = (line for line in commands(DOCS / "stages.md", "sh") if " plan " in line)
    shown = between("stages.md", "plan output").replace("```\n", "")
    printed = run(command).stdout
    if set(re.findall(r"is in the store|would run", run(before).stdout)) == {"is in the store"}:
        assert printed == shown
    stages = [re.split("  +", line)[0] for line in printed.splitlines()]
    assert stages == [re.split("  +", line)[0] for line in shown.splitlines()]
