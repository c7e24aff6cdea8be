"""Recipes: what loads, and that everything wrong is refused with file, line and the meant word."""

import datetime
import math
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.recipe_file import RecipeFile, load_recipe

BASE = """\
schema: 1
model:
  source: digits
  name: inception_v4
data:
  calibration: {dataset: digits, images: 10}
  evaluation:
    dataset: digits
    seed: 3
quantize:
  data_type: uint8
  scheme: asymmetric_affine
  ranges: {rule: minmax}
checks:
  export: {max_logit_error: 1.0e-3}
  quantize: {max_top1_drop: 0.005}
"""


def written(folder: Path, text: str | bytes, name: str = "some.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder: Path, text: str | bytes = BASE, *overrides: str) -> RecipeFile:
    return load_recipe(written(folder, text), overrides)


def refusal(folder: Path, text: str | bytes = BASE, *overrides: str) -> str:
    """The error's text, the recipe's folder cut out of it."""
    with pytest.raises(UsageError) as caught:
        load(folder, text, *overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{folder}/", "")


def changed(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new)


def test_what_is_written_and_what_is_not(tmp_path: Path) -> None:
    file = load(tmp_path)
    recipe = file.recipe
    assert (file.name, file.folder, file.path.name) == ("some", tmp_path, "some.yaml")
    assert recipe.data.calibration.images == 10
    assert (recipe.data.evaluation.images, recipe.data.evaluation.seed) == ("all", 3)
    assert recipe.data.selection is None
    assert recipe.checks.quantize.max_top1_drop == 0.005
    assert [getattr(recipe.checks, name).required for name in ("weights", "export", "quantize")] == [
        False, True, True,
    ]  # fmt: skip
    assert (recipe.compile.delegate, recipe.compile.if_toolkit_missing) == ("npu", "stop")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.model.name = "other"  # type: ignore[misc]


def test_every_error_of_a_file_is_said_at_once(tmp_path: Path) -> None:
    text = changed("name: inception_v4", "nam: inception_v4").replace("uint8", "uint9")
    assert refusal(tmp_path, text).splitlines() == [
        "some.yaml:2: model.name: is missing",
        "some.yaml:4: model.nam: unknown key; did you mean 'name'?",
        "some.yaml:11: quantize.data_type: unknown 'uint9'; did you mean 'uint8'?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("quantize:\n  data", "quantise:\n  data", ":10: quantise: unknown key; did you mean 'quantize'?"),
        ("    seed: 3", "    sede: 3", ":9: data.evaluation.sede: unknown key; did you mean 'seed'?"),
        ("    seed: 3", "    qqqq: 3", ":9: data.evaluation.qqqq: unknown key; known here: at_least, ceiling, dataset, images"),
        ("  quantize: {max", "  quantise: {max", ":16: checks.quantise: unknown key; did you mean 'quantize'?"),
        ("max_logit_error", "max_logits_error", ":15: checks.export.max_logits_error: unknown key; did you mean 'max_logit_error'?"),
        ("asymmetric_affine", "asymetric", ":12: quantize.scheme: unknown 'asymetric'; did you mean 'asymmetric_affine'?"),
        ("source: digits", "source: pytorch", ":3: model.source: unknown 'pytorch'; known here: timm, checkpoint, mindcv, digits"),
        ("    dataset: digits", "    dataset: imagnet", ":8: data.evaluation.dataset: unknown 'imagnet'; did you mean 'imagenet'?"),
        ("  name: inception_v4", "  name: ''", ":4: model.name: String should have at least 1 character (here: '')"),
        ("rule: minmax", "rule: minmx", ":13: quantize.ranges.rule: unknown 'minmx'; did you mean 'minmax'?"),
        ("rule: minmax", "rul: minmax", ":13: quantize.ranges.rul: unknown key; did you mean 'rule'?"),
        ("{rule: minmax}", "atuo", ":13: quantize.ranges: unknown 'atuo'; did you mean 'auto'?"),
        ("{rule: minmax}", "mse", ":13: quantize.ranges: unknown 'mse'; known here: auto, or a section with "),
        ("{rule: minmax}", "{percentile: 99.9}", "percentile is for rule percentile, not for mse"),
        ("{rule: minmax}", "{percentile: high}", ":13: quantize.ranges.percentile: should be a valid number"),
        ("{rule: minmax}", "auto", ": quantize.ranges: auto ranks candidates on data.selection, which is not given"),
        ("schema: 1", "schema: 2", ":1: schema: unknown 2; known here: 1"),
        ("schema: 1\n", "", "some.yaml:1: schema: is missing"),
        ("images: 10", "images: 0", ":6: data.calibration.images: should be greater than or equal to 1 (here: 0)"),
        ("images: 10", "images: ten", ":6: data.calibration.images: "),
        ("images: 10", "images: 10.0", ":6: data.calibration.images: "),
        ("images: 10", "images: '10'", ":6: data.calibration.images: "),
        ("images: 10", "images: true", ":6: data.calibration.images: "),
        ("images: 10", "images: [10]", ":6: data.calibration.images: "),
        ("    seed: 3", "    seed: null", ":9: data.evaluation.seed: should be a valid integer (here: None)"),
        ("    seed: 3", "    seed: 2001-02-03", ":9: data.evaluation.seed: should be a valid integer"),
        ("model:\n  source: digits\n  name: inception_v4", "model: inception_v4", ":2: model: should be an object"),
        ("model:\n  source: digits\n  name: inception_v4", "model: [a, b]", ":2: model: should be an object"),
        ("model:\n  source: digits\n  name: inception_v4", "model:", ":2: model: should be an object"),
    ],
)  # fmt: skip
def test_one_thing_wrong(tmp_path: Path, old: str, new: str, expected: str) -> None:
    said = refusal(tmp_path, changed(old, new))
    assert expected in said
    # Nothing is said that is beside the point, such as what else a value could have been.
    assert len(said.splitlines()) == (2 if "data.calibration.images: " in expected else 1), said


@pytest.mark.parametrize("drop", ["0.5", "1.0", "0.21", "1", "99"])
@pytest.mark.parametrize("stage", ["quantize", "compile"])
def test_a_threshold_in_points(tmp_path: Path, stage: str, drop: str) -> None:
    text = refusal(
        tmp_path, BASE.split("checks:")[0] + f"checks:\n  {stage}:\n    max_top1_drop: {drop}\n"
    )
    assert "some.yaml:15: checks." in text
    assert f"would allow a loss of {100 * float(drop):g} points" in text
    assert "drops are fractions, so half a point is 0.005" in text


@pytest.mark.parametrize("drop", ["0.2", "0", "0.0", "0.005"])
def test_a_threshold_as_a_fraction(tmp_path: Path, drop: str) -> None:
    file = load(tmp_path, changed("0.005", drop))
    assert file.recipe.checks.quantize.max_top1_drop == float(drop)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ("max_top1_drop: -0.1", "checks.quantize.max_top1_drop: should be greater than or equal to 0"),
        ("confidence: 95", "checks.quantize.confidence: should be less than 1 (here: 95"),
        ("confidence: 0.5", "checks.quantize.confidence: should be greater than 0.5 (here: 0.5"),
        ("min_top1: 75", "checks.quantize.min_top1: should be less than or equal to 1 (here: 75"),
        ("max_logit_error: 0", "checks.quantize.max_logit_error: should be greater than 0"),
        ("accept: anything", "checks.quantize.accept: unknown 'anything'; known here: measured, predicted"),
        ("max_top1_drop: .nan", "checks.quantize.max_top1_drop: "),
        ("max_top1_drop: .inf", "checks.quantize.max_top1_drop: "),
        ("max_logit_error: .inf", "checks.quantize.max_logit_error: "),
        ("confidence: .nan", "checks.quantize.confidence: "),
        ("min_top1: -.inf", "checks.quantize.min_top1: "),
    ],
)  # fmt: skip
def test_a_threshold_out_of_bounds(tmp_path: Path, threshold: str, expected: str) -> None:
    text = refusal(tmp_path, changed("max_top1_drop: 0.005", threshold))
    assert text.startswith(f"some.yaml:16: {expected}")


def test_a_number_that_yaml_takes_for_a_word(tmp_path: Path) -> None:
    # YAML 1.1 has no floats without a point, and this is how everybody writes them.
    text = refusal(tmp_path, changed("1.0e-3", "1e-3"))
    assert text.startswith("some.yaml:15: checks.export.max_logit_error: ")
    assert "1.0e-3" in text, "the error has to say how it is written instead"


@pytest.mark.parametrize("field", ["size", "crop", "mean", "std"])
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_a_preprocessing_that_is_no_number(tmp_path: Path, field: str, value: str) -> None:
    values = {"size": "75", "crop": "1.0", "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"}
    values[field] = f"[0.5, {value}, 0.5]" if field in ("mean", "std") else value
    text = changed(
        "data:\n", f"data:\n  preprocess: {{{', '.join(f'{k}: {v}' for k, v in values.items())}}}\n"
    )
    assert f"some.yaml:6: data.preprocess.{field}" in refusal(tmp_path, text)


@pytest.mark.parametrize("stage", ["weights", "export"])
def test_a_drop_before_there_is_a_reference(tmp_path: Path, stage: str) -> None:
    text = refusal(
        tmp_path, BASE.split("checks:")[0] + f"checks:\n  {stage}: {{max_top1_drop: 0.01}}\n"
    )
    assert f"some.yaml:14: checks: {stage} has no max_top1_drop" in text
    assert "drops are measured against the exported float model" in text


def test_an_illegal_pair(tmp_path: Path) -> None:
    text = refusal(tmp_path, changed("asymmetric_affine", "perchannel_symmetric_affine"))
    assert text.startswith("some.yaml:10: quantize: SyNAP knows no uint8 with perchannel_symm")
    assert text.endswith("uint8 goes with asymmetric_affine")


def test_options_for_the_wrong_source(tmp_path: Path) -> None:
    text = changed("source: digits", "source: timm").replace(
        "  name: inception_v4\n", "  name: inception_v4\n  options: {epochs: 1}\n"
    )
    assert refusal(tmp_path, text).startswith(
        "some.yaml:2: model: options are for source 'digits', not for 'timm'"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "some.yaml: a recipe is a mapping of `key: value` lines"),
        ("# nothing\n", "some.yaml: a recipe is a mapping of `key: value` lines"),
        ("---\n...\n", "some.yaml: a recipe is a mapping of `key: value` lines"),
        ("- schema: 1\n", "some.yaml: a recipe is a mapping of `key: value` lines"),
        ("just a word\n", "some.yaml: a recipe is a mapping of `key: value` lines"),
        ("schema: 1\nmodel:\n\tsource: digits\n", "some.yaml:3: not YAML: "),
        ("schema: 1\nmodel: {source: digits\n", "some.yaml:3: not YAML: "),
        ("schema: 1\nmodel: 'digits\n", "some.yaml:3: not YAML: "),
        ("schema: 1\nmodel: @home\n", "some.yaml:2: not YAML: "),
        ("schema: 1\nmodel: *nowhere\n", "some.yaml:2: not YAML: found undefined alias"),
        ("schema: 1\n---\nschema: 1\n", "some.yaml:2: not YAML: "),
        ("schema: 1\nmodel: !!python/object/apply:os.getcwd []\n", "some.yaml:2: not plain YAML: "),
        ("schema: 1\nmodel: !secret x\n", "some.yaml:2: not plain YAML: "),
        ("schema: 1\nmodel: !!int word\n", "some.yaml:2: not plain YAML: "),
        ("schema: 1\nmodel: 2001-99-99\n", "some.yaml:2: not plain YAML: "),
        ("schema: 1\nmodel: 0x_\n", "some.yaml:2: not plain YAML: "),
        (f"schema: 1\nmodel: {'9' * 5000}\n", "some.yaml:2: not plain YAML: "),
        (
            "schema: 1\nmodel: !!binary aGk=\n",
            "some.yaml:2: not plain YAML: tag:yaml.org,2002:binary",
        ),
        ("schema: 1\nmodel: !!map x\n", "some.yaml:2: not plain YAML: tag:yaml.org,2002:map"),
        ('schema: 1\nmodel: "\\ud800"\n', r"some.yaml:2: '\ud800' is no character but half of one"),
        ('schema: 1\nmodel:\n  "a\\udfff": 1\n', r"some.yaml:3: '\udfff' is no character"),
        ("schema: 1\n[1, 2]: 3\n", "some.yaml:2: a key has to be a word"),
        ("schema: 1\n{a: 1}: 3\n", "some.yaml:2: a key has to be a word"),
        ("schema: 1\n2001-01-01: 3\n", "some.yaml:2: 2001-01-01: unknown key"),
        ("schema: 1\n1: 3\n", "some.yaml:2: 1: unknown key"),
        ("schema: 1\nnull: 3\n", "some.yaml:2: null: unknown key"),
        ("schema: 1\ntrue: 3\n", "some.yaml:2: true: unknown key"),
        ("schema: 1\n!!binary aGk=: 3\n", "some.yaml:2: aGk=: unknown key"),
        ("schema: 1\n<<: 3\n", "some.yaml:2: `<<` merges only mappings"),
        ("schema: 1\n<<: [3]\n", "some.yaml:2: `<<` merges only mappings"),
        ("schema: 1\nmodel: !!set {a, b}\n", "some.yaml:2: not plain YAML: "),
        ("!!set {a, b}\n", "some.yaml:1: not plain YAML: "),
        ("schema: 1\nmodel: !!str {a: b}\n", "some.yaml:2: not plain YAML: "),
        ("schema: 1\nschema: 1\n", "some.yaml:2: schema is given twice"),
        ("schema: 1\nmodel:\n  name: a\n  name: b\n", "some.yaml:4: model.name is given twice"),
        (b"schema: 1\nmodel: \xe4\n", "some.yaml: this is not UTF-8 text"),
        (b"schema: 1\nmodel: \x00\n", "some.yaml: not YAML: "),
        (b"\xff\xfe\x00\x01", "some.yaml: this is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "some.yaml: this is not UTF-8 text"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str | bytes, expected: str) -> None:
    said = refusal(tmp_path, text)
    assert any(line.startswith(expected) for line in said.splitlines()), said


@pytest.mark.parametrize("text", ['"\\UFFFFFFFF"', f"%YAML 1.{'1' * 5_000}\n---\nschema: 1"])
def test_numbers_that_no_yaml_has(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith("some.yaml: not YAML: ")


@pytest.mark.parametrize("text", ["schema: " + "[" * 50_000, "{a: " * 50_000, "- " * 50_000])
def test_nesting_without_end(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text) == "some.yaml: nested too deeply"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + BASE.encode()) == load(tmp_path)


def test_lines_end_as_they_may(tmp_path: Path) -> None:
    assert load(tmp_path, BASE.replace("\n", "\r\n")).recipe == load(tmp_path).recipe
    text = changed("uint8", "uint9").replace("\n", "\r\n")
    assert refusal(tmp_path, text).startswith("some.yaml:11: quantize.data_type: ")


def test_no_such_file(tmp_path: Path) -> None:
    written(tmp_path, BASE, "mobilenet.yaml")
    with pytest.raises(UsageError, match="there is no such recipe") as caught:
        load_recipe(tmp_path / "mobilnet.yaml")
    assert f"did you mean {tmp_path / 'mobilenet.yaml'}?" in str(caught.value)
    with pytest.raises(UsageError, match=r"recipes in .*: mobilenet\.yaml"):
        load_recipe(tmp_path / "x.yaml")
    with pytest.raises(UsageError, match=r"there is no such recipe$"):
        load_recipe(tmp_path / "nowhere" / "x.yaml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is a folder"):
        load_recipe(tmp_path)


# Anchors and aliases


def test_anchors_and_aliases(tmp_path: Path) -> None:
    text = changed("{dataset: digits, images: 10}", "&ten {dataset: digits, images: 10}").replace(
        "  evaluation:\n    dataset: digits\n    seed: 3\n", "  evaluation: *ten\n"
    )
    data = load(tmp_path, text).recipe.data
    assert data.calibration == data.evaluation
    # What stands for both is one mapping in YAML; overriding the one must not change the other.
    data = load(tmp_path, text, "data.evaluation.images=7").recipe.data
    assert (data.calibration.images, data.evaluation.images) == (10, 7)


def test_a_merge_key(tmp_path: Path) -> None:
    text = changed("{dataset: digits, images: 10}", "&ten {dataset: digits, images: 10}").replace(
        "    dataset: digits\n    seed: 3\n", "    <<: *ten\n    seed: 3\n"
    )
    evaluation = load(tmp_path, text).recipe.data.evaluation
    assert (evaluation.dataset, evaluation.images, evaluation.seed) == ("digits", 10, 3)


def test_an_error_behind_an_alias(tmp_path: Path) -> None:
    text = changed("{dataset: digits, images: 10}", "&ten {dataset: digits, images: x}").replace(
        "  evaluation:\n    dataset: digits\n    seed: 3\n", "  evaluation: *ten\n"
    )
    said = refusal(tmp_path, text)
    assert "data.calibration.images" in said and "data.evaluation.images" in said
    assert {line.split(":")[1] for line in said.splitlines()} == {"6"}


@pytest.mark.parametrize(
    "text",
    [
        "schema: &a [*a]\n",
        "schema: 1\nmodel: &a\n  b: *a\n",
        "&a\nschema: *a\n",
        "model: &a {<<: *a}\n",
    ],
)
def test_an_alias_that_contains_itself(tmp_path: Path, text: str) -> None:
    assert "an alias contains itself" in refusal(tmp_path, text)


def test_aliases_of_aliases_do_not_explode(tmp_path: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
    assert "aliases" in refusal(tmp_path, f"schema: 1\na0: &a0 [x]\n{levels}\n")


# --set


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("model.name=resnet18", lambda r: r.model.name == "resnet18"),
        ("model.weights=a=b.pth", lambda r: r.model.weights == "a=b.pth"),
        ("  model.name = resnet18 ", lambda r: r.model.name == "resnet18"),
        ("data.calibration.images=3", lambda r: r.data.calibration.images == 3),
        ("data.evaluation.images=all", lambda r: r.data.evaluation.images == "all"),
        ("data.evaluation={dataset: digits, images: 5}", lambda r: r.data.evaluation.seed == 0),
        ("quantize.ranges.rule=percentile", lambda r: r.quantize.ranges.rule == "percentile"),
        ("compile.delegate=cpu", lambda r: r.compile.delegate == "cpu"),
        ("data.selection={dataset: digits, images: 4}", lambda r: r.data.selection.images == 4),
        ("checks.compile.max_top1_drop=0.01", lambda r: r.checks.compile.max_top1_drop == 0.01),
        ("model.revision=null", lambda r: r.model.revision is None),
        ("data.preprocess={size: 75}", lambda r: r.data.preprocess.mean == (0.5, 0.5, 0.5)),
    ],
)
def test_set(tmp_path: Path, override: str, read: Any) -> None:
    assert read(load(tmp_path, BASE, override).recipe)


def test_the_last_one_wins(tmp_path: Path) -> None:
    file = load(tmp_path, BASE, "data.calibration.images=3", "data.calibration.images=4")
    assert file.recipe.data.calibration.images == 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("quantize.scheme", "--set: cannot be understood: 'quantize.scheme'"),
        ("", "--set: cannot be understood: ''"),
        ("=3", "--set: cannot be understood"),
        (".=3", "--set: cannot be understood"),
        ("quantize..scheme=x", "--set: cannot be understood"),
        (".quantize=x", "--set: cannot be understood"),
        ("quantize.=x", "--set: cannot be understood"),
        ("quantize.scheme={", "--set quantize.scheme: not YAML: "),
        ("model.name.part=x", "--set 'model.name={part: x}'"),
        ("quantize.scheme=2001-99-99", "--set quantize.scheme: not plain YAML: month"),
        ("quantize.scheme=*a", "--set quantize.scheme: not YAML"),
        ("quantize.scheme=!x y", "--set quantize.scheme: not plain YAML: could not"),
        ("quantize.scheme=&a [*a]", "--set quantize.scheme: an alias contains itself"),
        ("quantize.scheme=[" + "[" * 50_000, "--set quantize.scheme: nested too deeply"),
        ("quantize.scheme={a: 1, a: 2}", "--set quantize.scheme: quantize.scheme.a is given twice"),
        ("quantize.scheme=asymetric", "--set: quantize.scheme: unknown 'asymetric'; did you mean 'asymmetric_affine'?"),
        ("quantize.sceme=x", "--set: quantize.sceme: unknown key; did you mean 'scheme'?"),
        ("quantise.scheme=x", "--set: quantise: unknown key; did you mean 'quantize'?"),
        ("quantize={sceme: x}", "--set: quantize.sceme: unknown key; did you mean 'scheme'?"),
        ("quantize={scheme: x}", "--set: quantize.scheme: unknown 'x'; known here: asymmetric_affine"),
        ("quantize=3", "--set: quantize: should be an object"),
        ("model.name.x=3", "--set model.name.x: name is not a section"),
        ("schema.x=3", "--set schema.x: schema is not a section"),
        ("checks.quantize.max_top1_drop=0.5", "would allow a loss of 50 points"),
        ("checks.export.max_logit_error=1e-3", "1.0e-3"),
        ("checks.weights.max_top1_drop=0.1", "weights has no max_top1_drop"),
        ("data.calibration=null", "--set: data.calibration: should be an object"),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in refusal(tmp_path, BASE, override)


def test_a_set_makes_good_what_the_file_has_wrong(tmp_path: Path) -> None:
    text = changed("scheme: asymmetric_affine", "scheme: asymetric")
    file = load(tmp_path, text, "quantize.scheme=asymmetric_affine")
    assert file.recipe.quantize.scheme == "asymmetric_affine"


# Anything at all

_WORDS = st.sampled_from(
    [
        *("schema", "model", "data", "quantize", "compile", "checks", "source", "name", "weights"),
        *("revision", "sha256", "options", "preprocess", "folder", "calibration", "selection"),
        *(
            "evaluation",
            "broken_images",
            "dataset",
            "images",
            "ceiling",
            "at_least",
            "seed",
            "manifest",
        ),
        *("rule", "percentile", "data_type", "scheme", "ranges", "delegate", "toolkit", "accept"),
        *("max_top1_drop", "confidence", "size", "mean", "std", "export", "digits", "imagenet"),
        *("timm", "all", "uint8", "minmax", "cpu", "npu"),
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | _WORDS
    | st.text(max_size=8)
    | st.dates()
    | st.datetimes(min_value=datetime.datetime(1900, 1, 1))
    | st.binary(max_size=4)
)
_KEYS = _WORDS | st.text(max_size=4) | st.integers() | st.booleans() | st.none() | st.dates()
_JUNK = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)
_PATHS = st.lists(_WORDS, min_size=1, max_size=4)
_RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def either_way(path: Path, overrides: list[str] | None = None) -> None:
    """A recipe or a UsageError; anything else fails the test."""
    try:
        loaded = load_recipe(path, overrides or [])
    except UsageError:
        return
    assert loaded.recipe.schema_version == 1


@_RELAXED
@given(_JUNK)
def test_junk_in_place_of_a_recipe(tmp_path: Path, junk: object) -> None:
    either_way(written(tmp_path, yaml.safe_dump(junk, allow_unicode=True)))


@_RELAXED
@given(_PATHS, _JUNK)
@example(["data", "calibration", "images"], math.nan)
def test_junk_anywhere_in_a_recipe(tmp_path: Path, keys: list[str], junk: object) -> None:
    data = yaml.safe_load(BASE)
    section = data
    for key in keys[:-1]:
        if not isinstance(section.get(key), dict):
            section[key] = {}
        section = section[key]
    section[keys[-1]] = junk
    either_way(written(tmp_path, yaml.safe_dump(data, allow_unicode=True)))


@_RELAXED
@given(
    _PATHS, st.text(max_size=12) | st.sampled_from(["{", "[", "&a", "*a", "<<", "!", "? a", "|"])
)
def test_junk_by_set(tmp_path: Path, keys: list[str], text: str) -> None:
    either_way(written(tmp_path, BASE), [f"{'.'.join(keys)}={text}"])


@_RELAXED
@given(st.text(alphabet="{}[]:&*!|>-#,?%@\"'\n\t <=~.1a" + string.ascii_letters[:6], max_size=60))
def test_text_that_looks_like_yaml(tmp_path: Path, text: str) -> None:
    either_way(written(tmp_path, text))
    either_way(written(tmp_path, BASE + text))


@_RELAXED
@given(st.binary(max_size=40))
def test_bytes(tmp_path: Path, content: bytes) -> None:
    either_way(written(tmp_path, content))
    either_way(written(tmp_path, BASE.encode() + content))
