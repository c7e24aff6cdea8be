"""What the results of stages depend on, and what they do not."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.artifact import digest_of_data
from pipeline.check.result import Check
from pipeline.dependencies import initial_settings, key_fields, known_settings
from pipeline.errors import StageError, UsageError
from pipeline.evaluation.evaluator import run_on
from pipeline.job import make_job, resolve
from pipeline.plan_run import plan as plan_stages
from pipeline.recipe import Checks, Compile
from pipeline.recipe_file import load_recipe
from pipeline.sources.model_folder import DESCRIPTION
from pipeline.stages import REFERENCE, STAGES, chain_of, check_chain, for_delegate, stages_until
from pipeline.store import Store
from pipeline.synap.handover import decide_handover
from pipeline.targets import load_target

NAMES = [stage.name for stage in STAGES]


def keys(root: Path, *overrides: str, target: str = "sl1680", **changes: Any) -> dict[str, str]:
    """The key of every stage, for results and samples of before that are always the same."""
    arguments: dict[str, Any] = {
        "config": root / "tiny.yaml", "target": target, "until": None, "overrides": overrides,
        "weights": None, "data": None, "artifacts": Path("artifacts"), "threads": 2, **changes,
    }  # fmt: skip
    job = make_job(**arguments)
    settings = replace(
        initial_settings(job),
        target=load_target(target),
        handover=decide_handover(job.recipe.recipe.compile),
    )
    taken = {name: "d" * 64 for stage in job.stages for name in stage.gives}
    sets: Any = SimpleNamespace(
        **{
            name: SimpleNamespace(digest=name)
            for name in ("calibration", "selection", "evaluation")
        }
    )
    return {
        stage.name: digest_of_data(key_fields(stage, settings, taken, sets)) for stage in job.stages
    }


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("model.name=test_efficientnet", {"weights"}),
        ("model.num_classes=10", {"weights"}),
        ("data.preprocess.size=96", {"export", "equalize", "quantize"}),
        ("data.preprocess.mean=[0.4, 0.4, 0.4]", {"export", "equalize", "quantize"}),
        ("equalize.high_bias=false", {"equalize"}),
        ("quantize.bias_correction=none", {"quantize"}),
        ("quantize.data_type=int8", {"quantize"}),
        ("quantize.ranges.rule=percentile", {"quantize"}),
        ("checks.export.max_logit_error=0.5", set()),
        ("checks.quantize={}", set()),
        ("checks.compile.accept=predicted", set()),
        ("data.broken_images=skip", set()),
        ("data.folder=elsewhere", set()),
        ("compile.if_toolkit_missing=cpu", set()),
        ("compile.toolkit=native", set()),
        # How many are drawn shows in the digest of what was drawn.
        ("data.evaluation.seed=7", set()),
        ("data.calibration.images=7", set()),
        ("data.calibration.at_least=7", set()),
    ],
)
def test_what_changes_the_result_changes_the_key(
    tiny: Path, override: str, changed: set[str]
) -> None:
    before, after = keys(tiny), keys(tiny, override)
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_metafile_that_the_toolkit_is_not_given_changes_nothing(tiny: Path) -> None:
    """It need not even be there."""
    cpu = "compile.delegate=cpu"
    assert keys(tiny, cpu) == keys(tiny, cpu, "compile.metafile=nowhere.yaml")


def test_a_target_changes_only_its_own_stage(tiny: Path) -> None:
    one, other = keys(tiny, target="sl1680"), keys(tiny, target="sl1640")
    assert {name for name in one if one[name] != other[name]} == {"compile"}


def test_places_and_threads_change_nothing(tiny: Path, tmp_path: Path) -> None:
    moved = tmp_path / "w.safetensors"
    moved.write_bytes((tiny / "weights.safetensors").read_bytes())
    assert keys(tiny, weights=moved, artifacts=tmp_path, threads=1, data=tmp_path) == keys(tiny)
    moved.write_bytes(moved.read_bytes() + b" ")
    different = keys(tiny, weights=moved)
    assert {name for name in different if different[name] != keys(tiny)[name]} == {"weights"}


def test_digests_and_samples_are_in_the_keys(tiny: Path) -> None:
    job = make_job(tiny / "tiny.yaml", "sl1680", None, (), None, None, Path("a"), 1)
    settings: Any = initial_settings(job)
    quantize = next(stage for stage in job.stages if stage.name == "quantize")

    def fields(graph: str, images: str) -> Any:
        sets: Any = SimpleNamespace(
            calibration=SimpleNamespace(digest=images),
            selection=SimpleNamespace(digest="s"),
            evaluation=SimpleNamespace(digest="e"),
        )
        taken = dict.fromkeys(quantize.takes, graph)
        return key_fields(quantize, settings, taken, sets)

    assert fields("1", "a") == fields("1", "a")
    assert fields("1", "a") != fields("2", "a")
    assert fields("1", "a") != fields("1", "b")
    tools = fields("1", "a")["tools"]
    assert "onnxruntime" in tools and all(tools.values())


# The chain


def test_the_chain_fits_together() -> None:
    check_chain(STAGES)
    assert REFERENCE in NAMES
    assert set(NAMES) <= set(Checks.model_fields), "every stage can be given thresholds"
    for first in range(1, len(STAGES)):
        with pytest.raises(AssertionError, match=f"stage {NAMES[first]} takes"):
            check_chain(STAGES[first:])


@pytest.mark.parametrize("name", NAMES)
def test_until(name: str) -> None:
    assert [stage.name for stage in stages_until(name, STAGES)] == NAMES[: NAMES.index(name) + 1]
    assert stages_until(None, STAGES) == STAGES


def test_a_recipe_chooses_its_chain(tiny: Path) -> None:
    def names(*overrides: str) -> list[str]:
        job = make_job(tiny / "tiny.yaml", "all", None, overrides, None, None, Path("a"), 1)
        check_chain(job.stages)
        return [stage.name for stage in job.stages]

    assert names() == NAMES
    assert names("equalize=null") == [name for name in NAMES if name != "equalize"]
    assert names("model.source=onnx", "checks={}") == NAMES[1:]


def test_falling_back_to_the_cpu_needs_no_tflite(tiny: Path) -> None:
    falling = chain_of(load_recipe(tiny / "tiny.yaml", ("compile={delegate: npu}",)).recipe)
    meant = chain_of(load_recipe(tiny / "tiny.yaml", ("compile={delegate: cpu}",)).recipe)
    assert "tflite" in falling[-1].takes and "tflite" not in meant[-1].takes
    assert for_delegate(falling, "npu") == falling
    assert for_delegate(falling, "cpu") == meant


def test_paths_in_a_recipe_are_relative_to_it(tiny: Path) -> None:
    folder = Path("some") / "folder"
    assert resolve(None, "w.pth", folder) == folder / "w.pth"
    assert resolve(Path("w.pth"), "other.pth", folder) == Path("w.pth")
    assert resolve(None, None, folder) is None
    assert resolve(None, "/w.pth", folder) == Path("/w.pth")
    job = make_job(tiny / "tiny.yaml", "all", None, (), None, None, Path("a"), 0)
    assert (job.weights, job.data) == (tiny / "weights.safetensors", tiny / "images")
    assert [target.name for target in job.targets] == ["sl1640", "sl1680"]
    assert job.threads >= 1 and job.artifacts.is_absolute()


def test_a_plan_of_a_store_that_holds_nothing(tiny: Path, tmp_path: Path) -> None:
    job = make_job(tiny / "tiny.yaml", "all", None, (), None, None, tmp_path, 1)
    nothing: Any = SimpleNamespace(evaluation=SimpleNamespace(dataset=None))
    store = Store(tmp_path, lambda text: None)
    rows = list(plan_stages(job, nothing, decide_handover(Compile(delegate="cpu")), store))
    shared = [stage.name for stage in STAGES if not stage.per_target]
    assert [row.stage for row in rows] == [*shared, "compile sl1640", "compile sl1680"]
    assert str(rows[0]) == "would run: never made before"
    assert all(row.reason.endswith("is not made yet") for row in rows[1:])


def test_a_plan_refuses_the_models_own_unequal_deviations_as_a_run_does(
    tiny: Path, tmp_path: Path
) -> None:
    """They are known once the weights are in the store."""
    own = ("equalize=null", "data.preprocess=null")
    job = make_job(tiny / "tiny.yaml", "all", None, own, None, None, tmp_path, 1)
    nothing: Any = SimpleNamespace(evaluation=SimpleNamespace(dataset=None))
    store = Store(tmp_path, lambda text: None)
    weights = job.stages[0]

    def build(folder: Path) -> Mapping[str, Any]:
        described = {
            "architecture": "test_resnet", "num_classes": 1000, "source": "checkpoint",
            "origin": {}, "parameters": 1, "preprocess": {"size": 64, "std": [0.2, 0.3, 0.4]},
        }  # fmt: skip
        model = folder / weights.gives["model"]
        model.mkdir()
        (model / DESCRIPTION).write_text(json.dumps(described))
        return {}

    store.get(weights.name, key_fields(weights, known_settings(job, nothing), {}, nothing), build)
    with pytest.raises(UsageError, match="SyNAP knows one deviation for all channels"):
        list(plan_stages(job, nothing, decide_handover(Compile(delegate="cpu")), store))


# Logits of an artifact


def test_more_labels_than_classes(trio: Any, tmp_path: Path) -> None:
    import numpy as np

    from pipeline.artifact import Artifact
    from pipeline.progress import Silent

    class Images:
        items = (SimpleNamespace(label=3), SimpleNamespace(label=10))

        def __len__(self) -> int:
            return 2

        def crops(self, *args: Any, **options: Any) -> Any:
            yield np.zeros((2, 64, 64, 3), np.uint8), np.array([3, 10])

    images: Any = Images()
    artifact = Artifact(trio.graph, "onnx", "d", 1)
    with pytest.raises(StageError, match="gives 10 classes, but the images have labels up to 10"):
        run_on(artifact, images, trio.view, 1, Silent())
    images.items = (SimpleNamespace(label=3), SimpleNamespace(label=9))
    assert run_on(artifact, images, trio.view, 1, Silent()).shape == (2, 10)


def test_a_check_is_plain_data() -> None:
    check = Check(
        1, 0.5, 0.5, None, None, None, None, None, (0.0, 1.0), True, "measured", "PASS", "x"
    )
    assert check.to_json()["confidence_interval"] == (0.0, 1.0)
