"""The page as markup: whole, by itself, and with nothing in it that a name brought along."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipeline.report.html.page import render_page
from pipeline.report.html.view import Absent, Branch, ConcatView

VOID = {"meta", "link", "img", "br"}
SECTIONS = [
    "accuracy", "noise", "ranges", "rules", "concats", "flips", "views", "cost", "data",
    "environment",
]  # fmt: skip
WITHOUT_CONCATS = [name for name in SECTIONS if name != "concats"]
"""Of the tiny model, which concatenates nothing."""
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>$x^2_{$ &amp; {{ 7*7 }}"


class Parsed(HTMLParser):
    """Elements in order, with their attributes; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} says something twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def ids(self) -> list[str]:
        return [a["id"] or "" for _, a in self.elements if "id" in a]


def sections(parsed: Parsed) -> list[str | None]:
    """Those of the page, which its list of them leads to one by one."""
    found = [section["id"] for section in parsed.all("section")]
    links = [link["href"] for link in parsed.all("a")]
    assert [link for link in links if link != "#views"] == [
        f"#{name}" for name in found if name != "views"
    ]
    assert "#views" in links
    return found


@pytest.fixture(scope="session")
def page(run: Any) -> str:
    return render_page(run.view())


def test_the_page_is_well_formed_and_accessible(page: str) -> None:
    parsed = Parsed(page)
    assert page.startswith("<!doctype html>")
    assert parsed.all("html") == [{"lang": "en"}]
    assert len(parsed.all("h1")) == 1
    assert sections(parsed) == WITHOUT_CONCATS
    assert len(set(parsed.ids)) == len(parsed.ids)
    for name in ("aria-labelledby", "href"):
        for _, attributes in parsed.elements:
            target = attributes.get(name)
            if target and not target.startswith("data:"):
                assert target.removeprefix("#") in parsed.ids
    for header in parsed.all("th"):
        assert header["scope"] in ("row", "col")
    for picture in parsed.all("img"):
        assert picture["alt"]
    for drawing in parsed.all("svg"):
        assert drawing["role"] == "img" and drawing["aria-label"]
    assert len(parsed.all("svg")) >= 8


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    parsed = Parsed(page)
    assert not re.search(r"https?:|//\w+\.|@import|url\((?!#)", page)
    assert not parsed.all("script") and not parsed.all("iframe")
    assert [link["href"] for link in parsed.all("link")] == ["data:,"]
    assert all((image["src"] or "").startswith("data:image/") for image in parsed.all("img"))
    assert not any(name.startswith("on") for _, a in parsed.elements for name in a)
    assert len(page) < 1_000_000


def test_the_page_says_what_the_report_says(run: Any, page: str) -> None:
    text = Parsed(page).text.replace("\u202f", " ").replace("\N{MINUS SIGN}", "-")
    report = run.report
    assert report["recipe"] in text and report["target"] in text
    for stage in report["stages"]:
        assert f"{100 * stage['check']['top1']:.2f} %" in text
        assert stage["artifact"]["sha256"] in text
        if stage["check"]["required"]:
            assert stage["check"]["reason"] in text
        if stage["check"]["confidence_interval"]:
            low, high = stage["check"]["confidence_interval"]
            assert f"{100 * low:+.2f} to {100 * high:+.2f}" in text
    for name in ("calibration", "selection", "evaluation"):
        assert report["data"][name]["sha256"] in text
    quantized = next(s for s in report["stages"] if s["name"] == "quantize")["details"]
    for row in quantized["candidates"]:
        assert f"{row['sqnr_db']:.1f} dB" in text
    assert "CPU bundle, not an NPU build" in text
    measured = report["stages"][-1]["details"]["device_view"]
    assert f"top-1 is {100 * measured['top1']:.2f} % instead of" in text


def test_the_winner_is_the_candidate_that_the_stage_took(run: Any) -> None:
    view = run.view()
    details = next(s for s in run.result.stages if s.name == "quantize").details
    winner = view.rules.winner
    taken = details["graph"], details["rule"], details["bias_correction"], details["sqnr_db"]
    assert (winner.graph, winner.rule, winner.correction, winner.sqnr_db) == taken
    assert sum(item.won for item in view.rules.tried) == 1


def test_histograms_are_the_worst_of_what_calibration_saw(run: Any) -> None:
    analysis = run.view().analysis
    ratios = [seen.sqnr_db for seen in analysis.histograms]
    assert len(ratios) == 6 and ratios == sorted(ratios) and analysis.tensors > 6
    for seen in analysis.histograms:
        assert len(seen.edges) == len(seen.counts) + 1 <= 129
        width = seen.edges[1] - seen.edges[0]
        # Bounds are of all values, counts of a part of them.
        assert seen.minimum - width <= seen.edges[0] < seen.edges[-1] <= seen.maximum + width
        assert seen.low <= 0 <= seen.high
        assert seen.high - seen.low == pytest.approx(255 * seen.scale)


def hostile(value: Any, key: str = "") -> Any:
    """The same value with every free text in it replaced."""
    kept = ("verdict", "evidence", "kind", "picture", "model", "device", "name")
    if isinstance(value, str):
        return value if key in kept or not value else f"{value} {HOSTILE}"
    if isinstance(value, BaseModel):
        changed = {name: hostile(getattr(value, name), name) for name in type(value).model_fields}
        return value.model_copy(update=changed)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.name != "kind"]
        return replace(value, **{n: hostile(getattr(value, n), n) for n in names})
    if isinstance(value, Mapping):
        return {k: hostile(v, str(k)) for k, v in value.items()}
    return type(value)(hostile(v, key) for v in value) if isinstance(value, tuple | list) else value


def test_no_name_becomes_markup(run: Any, page: str) -> None:
    view = hostile(run.view())
    assert not isinstance(view.flips, Absent) and not isinstance(view.analysis, Absent)
    for flip in view.flips.shown:
        assert HOSTILE in flip.label and HOSTILE in flip.id
    text = render_page(view)
    parsed = Parsed(text)
    harmless = [name for name, _ in Parsed(page).elements if name not in VOID]
    # Drawings may have more or fewer marks of an axis; nothing else may differ.
    drawn = {"g", "path", "use", "text", "defs", "clippath", "rect"}
    found = [name for name, _ in parsed.elements if name not in VOID]
    assert [n for n in found if n not in drawn] == [n for n in harmless if n not in drawn]
    assert not any(name.startswith("on") for _, a in parsed.elements for name in a)
    assert HOSTILE in parsed.text
    assert "49" not in parsed.text.split(HOSTILE)[1][:1]


def test_letters_that_xml_has_no_place_for(run: Any) -> None:
    view = run.view()
    rows = tuple(
        row.model_copy(update={"layer": f"a\x00\x1b{row.layer}"}) for row in view.analysis.layers
    )
    concats = tuple(
        c.model_copy(update={"name": "\x07" + "n" * 300}) for c in view.analysis.concats
    )
    analysis = view.analysis.model_copy(update={"layers": rows, "concats": concats})
    Parsed(render_page(replace(view, analysis=analysis)).replace("\x00", ""))


def test_a_run_that_ends_before_quantization_says_so(exported: Any, tmp_path: Path) -> None:
    parsed = Parsed(exported.write(tmp_path).read_text(encoding="utf-8"))
    assert sections(parsed) == SECTIONS
    reason = "Not in this run, which ended with export, before anything was quantized."
    assert parsed.text.count(reason) == 4
    assert "no stage behind the float export was run" in parsed.text
    assert "view was not measured in this run" in parsed.text


def test_a_rule_in_the_recipe_was_not_chosen(ruled: Any, tmp_path: Path) -> None:
    parsed = Parsed(ruled.write(tmp_path).read_text(encoding="utf-8"))
    assert sections(parsed) == [name for name in WITHOUT_CONCATS if name != "rules"]
    assert "Most noise by itself comes from" in parsed.text


def test_branches_have_a_section(run: Any) -> None:
    branch = Branch(tensor="left", low=0.0, high=1.0, steps=3.0)
    concat = ConcatView(name="joined", scale=0.5, levels=255, branches=(branch,))
    view = run.view()
    analysis = view.analysis.model_copy(update={"concats": (concat,), "histograms": ()})
    parsed = Parsed(render_page(replace(view, analysis=analysis)))
    assert sections(parsed) == [name for name in SECTIONS if name != "ranges"]
    assert "left in joined with 3 of 255" in parsed.text


def test_a_model_that_came_as_integers_lost_nothing_here(
    came_as_integers: Any, tmp_path: Path
) -> None:
    parsed = Parsed(came_as_integers.write(tmp_path).read_text(encoding="utf-8"))
    assert sections(parsed) == ["accuracy", "views", "cost", "data", "environment"]
    said = "The model came as integers: there is no float model to compare with."
    assert parsed.text.count(said) == 1
    for untrue in ("Not in this run", "float export", "stage before"):
        assert untrue not in parsed.text
    assert not any("PASS" in (attributes.get("class") or "") for _, attributes in parsed.elements)
    assert "tiny reported Nothing was demanded: the integer TFLite is right on" in parsed.text


def test_a_limit_is_no_measurement(run: Any) -> None:
    view = run.view()
    gained = replace(view.final, check=replace(view.final.check, top1_drop=-0.02), limit=0.02)
    assert (
        "Points gained 2.00 limit: 2.00 lost"
        in Parsed(render_page(replace(view, final=gained))).text
    )


def test_what_a_stage_said_is_kept(run: Any) -> None:
    view = run.view()
    first, *others = view.report["stages"]
    details = {**first["details"], "cautions": ["no better <than> guessing"], "notes": ["a note"]}
    report = {**view.report, "stages": [{**first, "details": details}, *others]}
    text = Parsed(render_page(replace(view, report=report))).text
    assert f"{first['name']}: no better <than> guessing." in text
    assert f"What the stages said {first['name']} a note" in text


def test_a_run_that_failed_still_has_its_page(broken: Any, tmp_path: Path) -> None:
    parsed = Parsed(broken.write(tmp_path).read_text(encoding="utf-8"))
    assert "The run ended early. compile: the toolkit failed." in parsed.text
    assert "look at <the> log" in parsed.text
    assert "Quantized ONNX" in parsed.text


def test_a_page_is_made_once(run: Any, tmp_path: Path) -> None:
    path = run.write(tmp_path)
    made = run.pages()
    rerun = {**run.report, "stages": [{**s, "cached": True} for s in run.report["stages"]]}
    assert replace(run, report=rerun).write(tmp_path) == path
    assert run.pages() == made
    changed = {**run.report, "verdict": "FAIL"}
    replace(run, report=changed).write(tmp_path)
    assert len(run.pages()) == len(made) + 1
    assert run.pages().items() > made.items()


def test_names_that_were_changed_are_shown(in_folders: Any, tmp_path: Path) -> None:
    """The pictures stay the same, so the report and everything else in the store do, too."""
    first = in_folders()
    assert "a fish called first" in first.write(tmp_path).read_text(encoding="utf-8")
    named = in_folders(fish="second")
    assert "a fish called second" in named.write(tmp_path).read_text(encoding="utf-8")
    renamed = in_folders(fish="second", prefix="holiday-")
    assert "holiday-" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "holiday-" in renamed.write(tmp_path).read_text(encoding="utf-8")
    assert first.samples.evaluation.digest == renamed.samples.evaluation.digest
    assert {stage.cached for stage in renamed.result.stages} == {True}


def test_a_page_that_was_changed_is_put_back(run: Any, tmp_path: Path) -> None:
    path = run.write(tmp_path)
    content = path.read_bytes()
    path.write_text("something else")
    assert run.write(tmp_path).read_bytes() == content


def test_pages_are_the_same_to_the_byte(run: Any, page: str) -> None:
    assert render_page(run.view()) == page
