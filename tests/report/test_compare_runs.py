"""Two runs side by side: the comparison, the terminal, the page and the command."""

import contextlib
import copy
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from pipeline.commands.compare import compare
from pipeline.errors import PipelineError, StageError, UsageError
from pipeline.report.compare_runs import Comparison, compare_runs
from pipeline.report.compare_view import print_comparison, write_page

app = typer.Typer()
app.command()(compare)


def stage(report: Any, name: str) -> Any:
    return next(stage for stage in report["stages"] if stage["name"] == name)


@pytest.fixture(scope="session")
def first_report(first_run: Any) -> dict[str, Any]:
    setting, done = first_run
    assert done.code == 0, done.err
    report: dict[str, Any] = setting.report("sl1680")
    return report


@pytest.fixture
def pair(first_report: dict[str, Any], tmp_path: Path) -> Callable[..., Comparison]:
    """The run beside a changed copy of it."""

    def make(change: Callable[[Any], Any] = lambda report: None) -> Comparison:
        files = tmp_path / "a.json", tmp_path / "b.json"
        files[0].write_text(json.dumps(first_report))
        changed = copy.deepcopy(first_report)
        change(changed)
        files[1].write_text(json.dumps(changed))
        return compare_runs(*files)

    return make


def printed(capsys: Any, comparison: Comparison) -> list[str]:
    print_comparison(comparison, Console(width=80, highlight=False))
    out: str = capsys.readouterr().out
    return out.splitlines()


def joined(lines: list[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def test_a_run_beside_itself(pair: Any, capsys: Any, first_report: Any) -> None:
    comparison = pair()
    assert comparison.warnings == comparison.recipe == comparison.data == ()
    assert comparison.environment == ()
    assert [p.name for p in comparison.stages] == [s["name"] for s in first_report["stages"]]
    assert all(p.same_file and p.top1_change == 0.0 and not p.unlike for p in comparison.stages)
    lines = joined(printed(capsys, comparison))
    assert not any("differs" in line or line.startswith("!") for line in lines)
    assert sum(line.startswith("same file") for line in lines) == len(comparison.stages)


def test_two_targets_of_a_run(first_run: Any) -> None:
    setting, _ = first_run
    comparison = compare_runs(*(setting.artifacts / "tiny" / t for t in ("sl1640", "sl1680")))
    assert [d.what for d in comparison.recipe] == ["target"]
    assert (comparison.a.name, comparison.b.name) == ("tiny sl1640", "tiny sl1680")
    assert comparison.warnings == comparison.data == comparison.environment == ()


def test_another_recipe_on_the_same_images(made: Any) -> None:
    """A real second run, whose rule is another one."""
    before = made.artifacts.parent / "before.json"
    before.write_text(json.dumps(made.report()))
    done = made.run("--set", "quantize.ranges={rule: percentile, percentile: 99.0}", "--set", "checks={}")  # fmt: skip
    assert done.code == 0, done.err
    comparison = compare_runs(before, made.artifacts / "tiny" / "sl1680")
    assert comparison.warnings == comparison.data == ()
    by_name = {p.name: p for p in comparison.stages}
    assert by_name["export"].same_file and not by_name["quantize"].same_file
    quantized = by_name["quantize"]
    check = stage(made.report(), "quantize")["check"]
    assert quantized.top1_change == pytest.approx(check["top1"] - quantized.a.top1)
    low, high = quantized.change_interval
    assert low < quantized.top1_change < high
    assert by_name["export"].change_interval is None
    assert comparison.summary.startswith("compile: on the same 60 images A is right on ")
    assert "each end with 95 % confidence." in comparison.summary


def test_numbers_and_their_change(pair: Any, capsys: Any) -> None:
    def change(report: Any) -> None:
        quantize = stage(report, "quantize")
        quantize["check"].update(
            top1=0.5, top1_drop=0.25, agreement=0.5, sqnr_db=10.0, verdict="FAIL"
        )
        quantize.update(seconds=150.0)
        quantize["artifact"].update(bytes=200_000, sha256="1" * 64)

    comparison = pair(change)
    old = next(p for p in comparison.stages if p.name == "quantize").a
    lines = joined(printed(capsys, comparison))
    start = lines.index(next(line for line in lines if line.startswith("quantize top-1")))
    block = "\n".join(lines[start : start + 9])
    assert f"50.00 % {100 * (0.5 - old.top1):+.2f}" in block
    assert f"+25.00 {100 * (0.25 - old.top1_drop):+.2f}" in block
    assert f"10.0 dB {10 - old.sqnr_db:+.1f} dB" in block
    assert f"0.2 MB {200_000 / old.bytes:.2f} times" in block
    assert f"2.5 min {150 / old.seconds:.2f} times" in block
    assert "verdict PASS FAIL ! differs" in block
    assert "same file" not in block


def test_other_images_are_said_loudly(pair: Any, capsys: Any) -> None:
    comparison = pair(lambda r: r["data"]["evaluation"].update(sha256="a" * 64, images=77))
    assert comparison.warnings[0] == (
        "other evaluation images (60 of imagenet and 77 of imagenet): the accuracies are NOT "
        "comparable"
    )
    assert all(p.top1_change is None for p in comparison.stages)
    lines = joined(printed(capsys, comparison))
    assert lines[2].startswith("! other evaluation images")
    assert any(re.fullmatch(r"export top-1 \S+ % \S+ % ! not comparable", line) for line in lines)
    (difference,) = comparison.data
    assert difference.what == "evaluation images"


def test_a_stage_on_fewer_images(pair: Any) -> None:
    comparison = pair(lambda r: stage(r, "quantize")["check"].update(images=16))
    assert comparison.warnings == (
        "quantize was judged on 60 images and on 16: its accuracies are NOT comparable",
    )
    assert [p.name for p in comparison.stages if p.unlike] == ["quantize"]


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (
            lambda r: r["environment"].update(threads=4),
            "the runs were on 2 threads and on 4: their times are NOT comparable",
        ),
        (
            lambda r: r["environment"].update(machine="aarch64", cpu_features=["asimddp"]),
            "integer models were run on other kinds of CPU: ",
        ),
        (
            lambda r: stage(r, "compile")["check"].update(evidence="predicted"),
            "compile: the accuracy is measured in A and predicted in B",
        ),
    ],
)
def test_what_else_is_not_comparable(pair: Any, change: Any, warning: str) -> None:
    comparison = pair(change)
    assert comparison.warnings[0].startswith(warning)


def test_what_differs_is_named(pair: Any, capsys: Any) -> None:
    def change(report: Any) -> None:
        report["recipe"] = "other[bold]"
        report["data"]["calibration"].update(sha256="b" * 64)
        report["data"]["preprocess"].update(crop=0.9)
        report["environment"]["versions"].update(onnxruntime="9.9")
        stage(report, "quantize")["details"].update(rule="mse")
        stage(report, "quantize")["options"] = {"quantize": {"scheme": "new", "ranges": {"x": 1}}}

    lines = joined(printed(capsys, pair(change)))
    assert "recipe: tiny | other[bold]" in lines
    assert "quantize, rule: none | mse" in lines
    assert "quantize, quantize.scheme: asymmetric_affine | new" in lines
    assert "quantize, quantize.ranges.x: none | 1" in lines
    assert "preprocessing, crop: 1.0 | 0.9" in lines
    assert any(line.startswith("calibration images: 20 of imagenet (") for line in lines)
    assert any(re.fullmatch(r"onnxruntime: \S+ \| 9\.9", line) for line in lines)


def test_another_float_model_leaves_the_difference_without_an_interval(pair: Any) -> None:
    def change(report: Any) -> None:
        for name, digest in (("export", "1"), ("quantize", "2"), ("lower", "4"), ("compile", "3")):
            if (stage(report, name)["artifact"]) is not None:
                stage(report, name)["artifact"].update(sha256=digest * 64)

    comparison = pair(change)
    assert comparison.stages[-1].change_interval is None
    assert "just as many. Whether that is chance is not said" in comparison.summary


def test_a_run_that_stopped_early_has_a_name_of_its_own(pair: Any) -> None:
    def stop(report: Any) -> None:
        report["stages"] = report["stages"][:4]
        report.update(target=None, compile=None)

    comparison = pair(stop)
    assert (comparison.a.name, comparison.b.name) == ("tiny sl1680", "tiny until quantize")
    assert comparison.summary == "quantize: both runs made the same file."


def test_a_report_of_before(pair: Any, capsys: Any) -> None:
    """What was added later is unknown of it; without what is needed it has to be made again."""

    def strip(report: Any) -> None:
        for row in report["stages"]:
            del row["options"], row["cached"]
            for field in ("flip_rate", "kl_divergence", "reference_sqnr_db", "published", "top5"):
                del row["check"][field]
        stage(report, "compile")["artifact"].update(sha256="1" * 64)

    comparison = pair(strip)
    assert "Whether that is chance is not said" in comparison.summary
    assert printed(capsys, comparison)
    with pytest.raises(StageError, match="written by an older version of the pipeline") as error:
        pair(lambda report: report["data"].pop("preprocess"))
    assert error.value.hint.startswith("make it again: `pipeline run`")


def test_stages_that_only_one_run_has(pair: Any, capsys: Any) -> None:
    comparison = pair(lambda r: r["stages"].remove(stage(r, "equalize")))
    names = [p.name for p in comparison.stages]
    assert names[:4] == ["weights", "export", "equalize", "quantize"]
    swapped = compare_runs(Path(comparison.b.path), Path(comparison.a.path))
    assert [p.name for p in swapped.stages] == names
    assert "only in A" in "\n".join(printed(capsys, comparison))
    assert "only in B" in "\n".join(printed(capsys, swapped))


def test_a_run_that_failed(pair: Any, capsys: Any) -> None:
    def fail(report: Any) -> None:
        report.update(verdict="FAIL", failure="compile: no\x1b[31m disk\nmake room", compile=None)
        report["stages"].pop()

    lines = printed(capsys, pair(fail))
    assert "failed: compile: no\\x1b[31m disk" in lines[2]
    assert "\x1b" not in "".join(lines)


def test_a_run_of_which_nothing_was_demanded(pair: Any, capsys: Any, tmp_path: Path) -> None:
    def demand_nothing(report: Any) -> None:
        for one in report["stages"]:
            one["check"]["required"] = False

    comparison = pair(demand_nothing)
    lines = printed(capsys, comparison)
    assert ": PASS " in lines[0] and ": reported " in lines[1]
    write_page(comparison, tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert page.count('<span class="verdict reported">reported</span>') == 1


def test_eighty_columns(pair: Any, capsys: Any) -> None:
    def change(report: Any) -> None:
        report["data"]["evaluation"].update(sha256="a" * 64)
        stage(report, "compile")["check"].update(evidence="predicted", verdict="UNDECIDED")

    lines = printed(capsys, pair(change))
    table = lines[lines.index("") : lines.index(next(x for x in lines if x.startswith("Changes")))]
    assert max(map(len, table)) <= 80
    assert not any("…" in line for line in table)


class _Page(HTMLParser):
    """Collects what a browser would fetch or run, and checks that elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.outside += [v for k, v in attrs if k in ("src", "href") and v != "data:,"]
        self.outside += [tag] if tag in ("script", "iframe", "img", "object") else []
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page(pair: Any, tmp_path: Path) -> None:
    def change(report: Any) -> None:
        report["recipe"] = "<script>alert(1)<b>"
        report["data"]["evaluation"].update(sha256="a" * 64, dataset="<img src=x>")

    comparison = pair(change)
    write_page(comparison, tmp_path / "page.html")
    page = _Page()
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page.feed(text)
    assert (page.outside, page.open) == ([], [])
    assert "<script>alert(1)<b>" in page.text and "NOT comparable" in page.text
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert "url(" not in text and "@import" not in text
    with pytest.raises(StageError, match="writing"):
        write_page(comparison, tmp_path / "page.html" / "no")


def test_what_cannot_be_compared(pair: Any, tmp_path: Path, first_run: Any) -> None:
    pair()
    good = tmp_path / "a.json"
    with pytest.raises(StageError, match="there is no such file"):
        compare_runs(good, tmp_path / "none.json")
    with pytest.raises(UsageError, match="schema 2"):
        pair(lambda report: report.update(schema=2))
    with pytest.raises(StageError, match=r"has no report\.json") as error:
        compare_runs(first_run[0].artifacts / "tiny", good)
    assert "did you mean" in error.value.hint and "sl1640 or" in error.value.hint
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(StageError, match="holds no object"):
        compare_runs(tmp_path / "bad.json", good)


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]),
    st.just({}),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_a_replaced_value_is_compared_or_refused_in_words(pair: Any, capsys: Any, tmp_path: Path, data: Any) -> None:  # fmt: skip
    """Wherever it is: no other exception than the project's own, and every view can show it."""

    def change(report: Any) -> None:
        parent: Any = report
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            key = data.draw(st.sampled_from(keys))
            inner = parent[key]
            if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
                break
            parent = inner
        parent[key] = data.draw(_VALUES)

    with contextlib.suppress(PipelineError):
        comparison = pair(change)
        print_comparison(comparison, Console(width=80))
        write_page(comparison, tmp_path / "page.html")
        json.dumps(comparison.to_json(), allow_nan=False)


def test_a_pipe_gets_whole_names(pair: Any, tmp_path: Path) -> None:
    name = "a-stage-of-a-name-" * 5

    def change(report: Any) -> None:
        stage(report, "quantize")["check"].update(evidence="predicted")
        report["environment"]["versions"].update({name: "9.9"})
        report["recipe"] = name

    pair(change)
    done = CliRunner().invoke(app, [str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert f"{name}: none | 9.9" in [line.strip() for line in lines]
    assert any(re.search(r"verdict +PASS +PASS \(predicted\) +! differs$", line) for line in lines)


def test_an_interval_says_of_what_it_is(pair: Any, capsys: Any) -> None:
    def change(report: Any) -> None:
        stage(report, "quantize")["artifact"].update(sha256="1" * 64)

    lines = joined(printed(capsys, pair(change)))
    place = lines.index(next(line for line in lines if line.startswith("quantize top-1")))
    assert re.fullmatch(r"top-1 at 95 % \S+ to \S+", lines[place + 1].removeprefix("same file "))
    assert "top-1 at 95 % is what the images leave open of the change" in " ".join(lines)


def test_the_command(pair: Any, tmp_path: Path) -> None:
    pair(lambda report: stage(report, "quantize")["check"].update(top1=0.25))
    runner = CliRunner()
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    done = runner.invoke(app, files)
    assert done.exit_code == 0
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())
    page = tmp_path / "page.html"
    done = runner.invoke(app, [*files, "--json", "--html", str(page)])
    data = json.loads(done.stdout)
    assert done.exit_code == 0 and page.is_file()
    quantized = next(s for s in data["stages"] if s["name"] == "quantize")
    assert quantized["b"]["top1"] == 0.25
    assert quantized["top1_change"] == pytest.approx(0.25 - quantized["a"]["top1"])
    assert (data["schema"], data["a"]["name"]) == (1, "tiny sl1680")
    done = runner.invoke(app, [files[0], str(tmp_path / "none")])
    assert isinstance(done.exception, PipelineError)


def test_a_failure_without_words_is_no_report(pair: Any) -> None:
    with pytest.raises(StageError, match="failure"):
        pair(lambda report: report.update(failure=""))
