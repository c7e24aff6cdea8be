"""The page in a real browser: nothing complained of, nothing cut off, on a phone and on a desk."""

import copy
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.compare_runs import Comparison, compare_runs
from pipeline.report.compare_view import write_page
from pipeline.report.html.page import render_page

A4 = 680
"""Pixels between the margins of a sheet: 210 mm less twice 15."""
CUT_OFF = """(() => {
const style = getComputedStyle(document.body), all = document.body.getBoundingClientRect()
const left = all.left + parseFloat(style.paddingLeft) - 1
const right = all.right - parseFloat(style.paddingRight) + 1
return [...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect()
  // Headings of a table that is a list here are only for those who listen to it.
  if (!box.width || e.closest('thead') && e.closest('.stack') && innerWidth < 740) return false
  if (e.closest('svg') && e.tagName !== 'svg') {
    if (e.tagName !== 'text') return false
    const all = e.closest('svg').getBoundingClientRect()
    return box.left < all.left - 1 || box.right > all.right + 1
      || box.top < all.top - 1 || box.bottom > all.bottom + 1
  }
  const own = getComputedStyle(e)
  const clipped = own.overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1
    || own.overflowY !== 'visible' && e.scrollHeight > e.clientHeight + 1
  return clipped || box.left < left || box.right > right
}).map(e => `${e.tagName} ${e.textContent.trim().slice(0, 60)}`)
})()"""
COLLIDING = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].map(e => [e.getBoundingClientRect(), e.textContent])
  return texts.filter(([a]) => a.width).flatMap(([a, one], place) => texts.slice(place + 1)
    .filter(([b]) => a.left < b.right - 1 && b.left < a.right - 1
      && a.top + 3 < b.bottom - 3 && b.top + 3 < a.bottom - 3)
    .map(([, other]) => `${one} | ${other}`))
})"""
BROKEN = """[...document.querySelectorAll('.numbers td, .numbers th, .verdict')].flatMap(e =>
  [...e.childNodes].filter(n => n.nodeType === 3).flatMap(n =>
    [...n.data.matchAll(/\\S+/g)].filter(word => {
      const range = document.createRange()
      range.setStart(n, word.index); range.setEnd(n, word.index + word[0].length)
      return new Set([...range.getClientRects()].map(box => box.top)).size > 1
    }).map(word => word[0])))"""
OVERLAPPING = """[...document.querySelectorAll('td, th')].filter(e =>
  e.getBoundingClientRect().width && e.scrollWidth > e.clientWidth + 1
  && !(e.closest('thead') && e.closest('.stack') && innerWidth < 740)
).map(e => e.textContent)"""
CONTRAST = """(() => {
  const part = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 }
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number)
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
  }
  const ground = light(getComputedStyle(document.body).backgroundColor)
  return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().width
      && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
    const style = getComputedStyle(e)
    const own = light(e.closest('svg') ? style.fill : style.color)
    const [high, low] = own > ground ? [own, ground] : [ground, own]
    return [(high + 0.05) / (low + 0.05), e.textContent.trim().slice(0, 40)]
  }).sort((a, b) => a[0] - b[0])[0]
})()"""


@pytest.fixture(scope="session")
def pages(run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run, and that of a model whose names are long and without a break, as is the
    verdict."""
    folder = tmp_path_factory.mktemp("pages")
    view = run.view()

    def long(name: str) -> str:
        return f"/features/{'very_long_module_name.' * 4}{name}"

    rows = tuple(r.model_copy(update={"layer": long(r.layer)}) for r in view.analysis.layers)
    seen = tuple(h.model_copy(update={"tensor": long(h.tensor)}) for h in view.analysis.histograms)
    concats = tuple(c.model_copy(update={"name": long(c.name)}) for c in view.analysis.concats)
    analysis = view.analysis.model_copy(
        update={"layers": rows, "histograms": seen, "concats": concats}
    )
    undecided = tuple(
        replace(s, check=replace(s.check, required=True, verdict="UNDECIDED")) for s in view.stages
    )
    longest = replace(view, analysis=analysis, stages=undecided)
    texts = {
        "plain": render_page(view),
        "long": render_page(replace(longest, report={**view.report, "recipe": long("recipe")})),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    for name, recipe in (("compare", "tiny"), ("compare-long", long("recipe"))):
        write_page(beside(run.report, recipe, folder), folder / f"{name}.html")
    return {path.stem: path for path in folder.glob("*.html")}


def beside(report: Any, recipe: str, folder: Path) -> Comparison:
    """The run beside one of another recipe that is undecided where this one passes."""
    other = copy.deepcopy(report)
    other.update(recipe=recipe.replace("/", "-"), verdict="UNDECIDED")
    other["environment"].update(threads=7)
    compiled = other["stages"][-1]
    compiled["check"].update(verdict="UNDECIDED", evidence="predicted", flip_rate=0.2)
    compiled["artifact"].update(sha256="1" * 64, bytes=1)
    quantize = next(stage for stage in other["stages"] if stage["name"] == "quantize")
    quantize["options"] = {"quantize": {"layers": {f"{recipe}_{n}": "int16" for n in range(3)}}}
    for name, data in (("a", report), ("b", other)):
        (folder / f"{name}.json").write_text(json.dumps(data))
    return compare_runs(folder / "a.json", folder / "b.json")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("plain", width) for width in (360, 768, 1440)), ("long", 360), ("long", 1440),
        *(("compare", width) for width in (360, 768, 1440)), ("compare-long", 360),
        ("compare-long", 1440),
    ],
)  # fmt: skip
def test_nothing_is_cut_off(
    browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool, tmp_path: Path
) -> None:
    browser.open(pages[name], width, dark=dark)
    browser.screenshot(tmp_path / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(CUT_OFF) == []
    assert browser.value(OVERLAPPING) == []
    assert browser.value(COLLIDING) == []
    if "long" not in name:
        assert browser.value(BROKEN) == []
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["plain", "compare"])
def test_all_text_can_be_read(browser: Any, pages: dict[str, Path], name: str, dark: bool) -> None:
    browser.open(pages[name], 1440, dark=dark)
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    least, text = browser.value(CONTRAST)
    assert least >= 4.5, f"{text!r} has a contrast of {least:.2f}"


@pytest.mark.parametrize("width", [360, 1440])
def test_every_figure_is_shown_once(browser: Any, pages: dict[str, Path], width: int) -> None:
    browser.open(pages["plain"], width)
    shown = browser.value(
        "[...document.querySelectorAll('figure')].map(f => [...f.querySelectorAll('svg')]"
        ".filter(s => s.getBoundingClientRect().width > 100).length)"
    )
    drawn = [count for count in shown if count]
    assert len(drawn) >= 8 and set(drawn) == {1}


@pytest.mark.parametrize("name", ["plain", "compare", "compare-long"])
def test_it_prints(browser: Any, pages: dict[str, Path], name: str, tmp_path: Path) -> None:
    browser.open(pages[name], 1000, dark=True)
    browser.pdf(tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF") and 2 <= content.count(b"/Type /Page\n") <= 12
    assert browser.problems == []
    # What is printed between the margins of a sheet (`@page`), as it is laid out there.
    browser.open(pages[name], A4, media="print")
    assert browser.value("document.documentElement.scrollWidth") <= A4
    assert browser.value(CUT_OFF) == []
    assert browser.value(OVERLAPPING) == []
    assert browser.value(COLLIDING) == []


@pytest.mark.parametrize("name", ["plain", "compare"])
def test_headings_skip_no_level(browser: Any, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], 1440)
    levels = browser.value(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(e => +e.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1 and levels.count(2) >= 5
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_test_sees_what_is_cut_off(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text(
        "<body><p style='width: 2000px'>wide</p><div style='width:50px;overflow:hidden'>"
        "<b style='white-space:nowrap'>hidden words</b></div>"
        "<div style='height:5px;width:90px;overflow:hidden'>below</div>"
        "<table class='numbers' style='width:20px;word-break:break-all'><td>UNDECIDED</table>"
        "<svg><text x='9' y='20'>one</text><text x='12' y='20'>other</text></svg>"
        "<script>console.error('seen')</script><img src='http://127.0.0.1:9/x.png'>"
    )
    browser.open(page, 360)
    assert browser.value("document.documentElement.scrollWidth") > 360
    found = browser.value(CUT_OFF)
    assert {"P wide", "DIV hidden words", "DIV below"} <= {*found}
    assert browser.value(BROKEN) == ["UNDECIDED"]
    assert browser.value(COLLIDING) == ["one | other"]
    assert any("seen" in problem for problem in browser.problems)
    assert any(problem.startswith("request: http://127.0.0.1:9") for problem in browser.problems)
