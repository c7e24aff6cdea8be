"""What docs/troubleshooting.md and its neighbours quote is what the program says and takes."""

import ast
import re
import shlex
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import pipeline
from pipeline.recipe_file import load_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / name for name in ("troubleshooting.md", "tutorial.md", "extending.md")]
GAP = "…"


def messages() -> list[str]:
    """The lines of all `message` blocks."""
    text = PAGES[0].read_text()
    blocks = re.findall(r"^ *```message\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


@cache
def texts_of_source() -> str:
    """Every text in the package's code, a line each, with a gap for each value put into it."""
    texts: list[str] = []
    for path in Path(pipeline.__file__).parent.rglob("*.py"):
        texts += (told for node in ast.walk(ast.parse(path.read_text())) if (told := text_of(node)))
    return "\n".join(text.replace("\n", " ") for text in texts)


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) or GAP for value in node.values)
    return None


def occurs(fragment: str) -> bool:
    """Whether a fragment of a message stands in one text of the program, or in one with a gap and
    another that fills it, or, clause by clause, in several."""
    source = texts_of_source()
    words = fragment.split(" ")
    for end in range(1, len(words)):
        for stop in range(end + 1, len(words) + 1):
            filled = " ".join([*words[:end], GAP, *words[stop:]])
            if filled in source and " ".join(words[end:stop]) in source:
                return True
    clauses = re.split(r"(?<=[:;,.)]) ", fragment)
    return fragment in source or (
        len(clauses) > 1 and all(clause.strip(" :;,") in source for clause in clauses)
    )


@pytest.mark.parametrize("line", messages())
def test_a_quoted_message_is_one_of_the_program(line: str) -> None:
    told = [part.strip(" :;,()") for part in line.split(GAP)]
    fragments = [part for part in told if re.search(r"\w{3}", part)]
    assert fragments, "nothing of it could be looked up"
    for fragment in fragments:
        assert occurs(fragment), f"no text of the program has {fragment!r}"


def test_an_invented_message_is_noticed() -> None:
    assert not occurs("the quantization gremlin has escaped")
    assert occurs("this is not the file the recipe demands: its sha256 is")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_override_is_one_that_recipes_take(page: Path) -> None:
    """Those of one piece of code together, because some belong together."""
    text = re.sub(r"\s+", " ", page.read_text())
    for code in re.findall(r"`([^`]*--set [^`]*)`", text):
        words = shlex.split(code)
        given = [value for option, value in pairwise(words) if option == "--set"]
        load_recipe(ROOT / "configs" / "byom_example.yaml", given)
