"""The page in a real browser: nothing complained of, nothing cut off, on a phone and on a desk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.html.page import render_page

CUT_OFF = """[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect()
  // Headings of a table that is a list here are only for those who listen to it.
  if (!box.width || e.closest('thead') && e.closest('.stack') && innerWidth < 740) return false
  if (e.closest('svg') && e.tagName !== 'svg') {
    if (e.tagName !== 'text') return false
    const all = e.closest('svg').getBoundingClientRect()
    return box.left < all.left - 1 || box.right > all.right + 1
      || box.top < all.top - 1 || box.bottom > all.bottom + 1
  }
  const hidden = getComputedStyle(e).overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1
  return hidden || box.left < -0.5 || box.right > innerWidth + 0.5
}).map(e => `${e.tagName} ${e.textContent.trim().slice(0, 60)}`)"""
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
    """The page of a run, and that of a model whose names are long and without a break."""
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
    texts = {
        "plain": render_page(view),
        "long": render_page(
            replace(view, analysis=analysis, report={**view.report, "recipe": long("recipe")})
        ),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("name", "width"),
    [("plain", 360), ("plain", 768), ("plain", 1440), ("long", 360), ("long", 1440)],
)
def test_nothing_is_cut_off(
    browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool, tmp_path: Path
) -> None:
    browser.open(pages[name], width, dark=dark)
    browser.screenshot(tmp_path / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(CUT_OFF) == []
    assert browser.value(OVERLAPPING) == []
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_can_be_read(browser: Any, pages: dict[str, Path], dark: bool) -> None:
    browser.open(pages["plain"], 1440, dark=dark)
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


def test_it_prints(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    browser.open(pages["plain"], 1000, dark=True)
    browser.pdf(tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF") and 2 <= content.count(b"/Type /Page\n") <= 12
    assert browser.problems == []


def test_the_test_sees_what_is_cut_off(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text(
        "<body><p style='width: 2000px'>wide</p><div style='width:50px;overflow:hidden'>"
        "<b style='white-space:nowrap'>hidden words</b></div>"
        "<script>console.error('seen')</script><img src='http://127.0.0.1:9/x.png'>"
    )
    browser.open(page, 360)
    assert browser.value("document.documentElement.scrollWidth") > 360
    assert len(browser.value(CUT_OFF)) >= 2
    assert any("seen" in problem for problem in browser.problems)
    assert any(problem.startswith("request: http://127.0.0.1:9") for problem in browser.problems)
