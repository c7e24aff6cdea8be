"""The model card of a results folder, in the form of SyNAP's own cards on the Hugging Face hub.

The text is a pure function of the files beside it: every number is this run's, read from
`report.json` and the bundle, or it is said whose it is. Sections, tags and the form of the example
output follow the cards that Synaptics publishes for its zoo (`library_name: synap`), without two
faults of theirs: the size of the output is not the image's, and times belong to the file shown.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path, write_text
from pipeline.errors import StageError
from pipeline.inspect import inspect_file
from pipeline.inspect.inspection import Inspection, TensorFacts
from pipeline.report.card_example import Example, NoExample, example_of, table
from pipeline.report.card_mark import mark_of, mark_text
from pipeline.report.rendering import Verbatim, render
from pipeline.report.report_read import (
    REPORT,
    ModelPart,
    ShownReport,
    ShownStage,
    device_view_of,
    model_of,
    read_shown,
)
from pipeline.stages.compile import BUNDLE, GIVES
from pipeline.synap.companions import LABELS, PICTURE
from pipeline.synap.handover import CPU_NOTICE
from pipeline.targets import PublishedTimes, Target, load_target

if TYPE_CHECKING:
    from pipeline.store import Store

CARD = "README.md"
COMMAND = f"synap_cli_ic -m {BUNDLE} {PICTURE}"
"""What `run.sh` does; a test holds the two together."""
NOT_DECLARED = "not declared by the source"
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}")
"""An identifier of the hub's."""
_EVIDENCE = {
    "measured": "run here, on the CPU",
    "predicted": "predicted: the model it was made from was run instead",
    "board": "run on a board",
}


def write_card(folder: Path, threads: int, store: "Store | None" = None) -> Path:
    """Write the card of a results folder, whose report has to be there; its path.

    The example output is run where nobody did before, and kept in `store`. Raises StageError where
    the folder has no bundle, or something in it is damaged or not what the report measured.
    """
    report = read_shown(folder / REPORT)
    require_bundle(folder, report)
    outcome = example_of(folder, report, threads, store)
    path = folder / CARD
    write_text(path, card_text(folder, report, outcome))
    return path


def require_bundle(folder: Path, report: ShownReport) -> None:
    """Raise StageError unless the bundle in the folder is the one that the report is about."""
    stage = compiled_stage(report)
    if stage is None or report.compile is None or report.target is None:
        raise StageError(
            "this run made no bundle, and a card describes one",
            where=str(folder),
            hint="run the recipe to its end: pipeline run CONFIG",
        )
    path = folder / BUNDLE
    if not path.is_file():
        raise StageError("there is no such file", where=str(path), hint="run the recipe again")
    assert stage.artifact is not None
    if digest_of_path(path) != stage.artifact.sha256:
        raise StageError(
            f"is not the bundle that {REPORT} measured, whose sha256 is {stage.artifact.sha256}",
            where=str(path),
            hint="run the recipe again, which puts the right one back",
        )


def compiled_stage(report: ShownReport) -> ShownStage | None:
    """The stage that made the bundle; None where there is none."""
    stage = report.shown_stage("compile")
    return stage if stage is not None and stage.artifact is not None else None


def files_of(folder: Path) -> dict[str, str]:
    """Digests of everything that belongs to the card, as far as it is there."""
    names = (REPORT, *GIVES.values())
    return {name: digest_of_path(folder / name) for name in names if (folder / name).is_file()}


def card_text(folder: Path, report: ShownReport, outcome: Example | NoExample) -> str:
    """The card of a folder that `require_bundle` has nothing against. Raises StageError where
    something in it cannot be read."""
    stage = compiled_stage(report)
    assert stage is not None and stage.artifact is not None
    assert report.compile is not None and report.target is not None
    target = load_target(report.target)
    model = model_of(report, str(folder / REPORT))
    inspection = inspect_file(folder / BUNDLE)
    labels = _labels(folder / LABELS)
    license = None if model is None else _license(model)
    is_cpu = report.compile.delegate == "cpu"
    example = None
    if isinstance(outcome, Example):
        lines = [f"Loading network: {BUNDLE}", f"Input image: {PICTURE}"]
        example = [Verbatim(line) for line in (*lines, *table(outcome.top, labels))]
    return render(
        "card.md.j2",
        front_matter=Verbatim(_front_matter(report, stage, target, model, license)),
        report=report,
        compiled=stage,
        stages=[stage for stage in report.stages if stage.artifact is not None],
        target=target,
        model=model,
        license=license or NOT_DECLARED,
        numbers=_numbers(inspection),
        input=_tensor(inspection.contents.inputs, folder),
        output=_tensor(inspection.contents.outputs, folder),
        labels=len(labels),
        is_cpu=is_cpu,
        cpu_notice=CPU_NOTICE,
        evidence=_EVIDENCE[stage.check.evidence],
        view=device_view_of(report, str(folder / REPORT)),
        published=None if is_cpu else _published(target, model, report),
        command=Verbatim(COMMAND),
        example=example,
        outcome=outcome,
        mark=Verbatim(mark_text(mark_of(files_of(folder), outcome))),
    )


def _front_matter(
    report: ShownReport,
    stage: ShownStage,
    target: Target,
    model: ModelPart | None,
    license: str | None,
) -> str:
    """What the hub reads, as YAML."""
    import yaml

    data: dict[str, Any] = {
        "library_name": "synap",
        "pipeline_tag": "image-classification",
        "license": license or "unknown",  # the hub's own word where nobody declared any
        "tags": ["Image Classification", "Astra SL", "SL1600", target.toolkit_name, "MPU"],
    }
    if model is not None and model.origin.hub:
        data |= {"base_model": model.origin.hub, "base_model_relation": "quantized"}
    if stage.check.top1 is not None:
        how = _EVIDENCE[stage.check.evidence]
        measures = (("top-1", stage.check.top1), ("top-5", stage.check.top5))
        metrics = [
            {"type": "accuracy", "name": f"{name} ({how})", "value": round(value, 6)}
            for name, value in measures
            if value is not None
        ]
        dataset = report.data.evaluation.dataset
        results = {
            "task": {"type": "image-classification"},
            "dataset": {"type": dataset, "name": f"{stage.check.images} images of {dataset}"},
            "metrics": metrics,
        }
        data["model-index"] = [{"name": f"{report.recipe} {target.name}", "results": [results]}]
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return text.rstrip("\n")


def _license(model: ModelPart) -> str | None:
    """What the source declares; what is no identifier of the hub's is not repeated."""
    declared = model.origin.license
    return declared if declared is not None and _LICENSE.fullmatch(declared) else None


def _labels(path: Path) -> list[str]:
    """The names of the classes, as SyNAP's runtime reads them."""
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise StageError(
            f"has no list of labels ({type(error).__name__})",
            where=str(path),
            hint="run the recipe again, which puts it back",
        ) from None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise StageError("its labels are no list of texts", where=str(path))
    return labels


def _tensor(tensors: Sequence[TensorFacts], folder: Path) -> TensorFacts:
    if len(tensors) != 1:
        raise StageError(
            f"has {len(tensors)} inputs or outputs; a classifier has one of each",
            where=str(folder / BUNDLE),
        )
    return tensors[0]


def _numbers(inspection: Inspection) -> str:
    """What the model consists of, as the bundle itself shows it."""
    facts = inspection.contents.quantization
    if facts is None:
        return "not said by the bundle"
    if facts.kind == "float":
        return facts.data_type or "float"
    return ", ".join(part for part in (facts.data_type, facts.scheme) if part)


def _published(
    target: Target, model: ModelPart | None, report: ShownReport
) -> PublishedTimes | None:
    """What the vendor publishes of its own build of this architecture at this size; its zoo calls
    such a model `<architecture>_<size>_quant`."""
    if model is None:
        return None
    architecture = model.architecture.partition(".")[0]
    name = f"{architecture}_{report.data.preprocess.size}_quant"
    return next((times for times in target.published if times.model == name), None)
