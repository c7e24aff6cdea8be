"""`compile`: per target and delegate, the `.synap` file and what lies beside it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path
from pipeline.stages.stage import Settings, Stage, Work

if TYPE_CHECKING:
    from pipeline.quant.plan import Plan
    from pipeline.synap.hand_over import Handed

BUNDLE = "model.synap"
GIVES = {
    "bundle": BUNDLE,
    "metafile": "metafile.yaml",
    "labels": "info.json",
    "picture": "sample.png",
    "command": "run.sh",
}
"""All of it is published beside the report."""


def options(settings: Settings) -> Mapping[str, Any]:
    assert settings.target is not None
    assert settings.handover is not None
    handover, recipe = settings.handover, settings.recipe.recipe
    own = own_metafile(settings)
    return {
        "target": settings.target.name,
        "delegate": handover.delegate,
        "handoff": handover.form,
        "toolkit": None if handover.toolkit is None else handover.toolkit.identity,
        "metafile": None if own is None else digest_of_path(own),
        "interface": recipe.compile.model_dump(
            mode="json", include={"preprocess", "dequantize_outputs", "output_format"}
        ),
        **settings.label_options,
    }


def own_metafile(settings: Settings) -> Path | None:
    """The user's metafile, where the recipe names one and the toolkit is given it."""
    assert settings.handover is not None
    name = settings.recipe.recipe.compile.metafile
    for_toolkit = settings.handover.delegate == "npu"
    return settings.recipe.folder / name if name is not None and for_toolkit else None


def _stand_in(settings: Settings) -> str | None:
    """An NPU model cannot be run here. The integer TFLite it is compiled from predicts it; where the
    toolkit quantizes by itself, a replay of its own table does, which is made with the model."""
    assert settings.handover is not None
    return "lower" if settings.handover.form == "tflite" else None


def _against(settings: Settings) -> str | None:
    """The stage whose artifact is handed over."""
    assert settings.handover is not None
    return "lower" if settings.handover.form == "tflite" else "quantize"


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import class_count, load_graph
    from pipeline.quant.plan import load_plan
    from pipeline.synap.companions import write_companions
    from pipeline.synap.cpu_bundle import write_cpu_bundle
    from pipeline.synap.npu_build import build_for_npu

    settings = work.settings
    handover = settings.handover
    assert handover is not None
    assert settings.target is not None
    plan = load_plan(work.taken["plan"])
    details: Mapping[str, Any] = {}
    if handover.toolkit is None:
        write_cpu_bundle(work.taken["qdq"], work.folder / BUNDLE, work.folder / GIVES["metafile"])
    else:
        details = build_for_npu(
            toolkit=handover.toolkit,
            target=settings.target,
            handed=_hand_over(work, handover.form, plan),
            plan=plan,
            folder=work.folder,
            bundle=BUNDLE,
            progress=work.progress,
            graph=work.taken["float"] if handover.form == "onnx" else None,
        )
    crops, _ = next(work.samples.calibration.crops(settings.model_input, 1, workers=1))
    base = work.taken["base"]
    labels = settings.labels(class_count(load_graph(base), str(base)))
    write_companions(work.folder, BUNDLE, labels, crops[0])
    return details


def _hand_over(work: Work, form: str, plan: "Plan") -> "Handed":
    from pipeline.synap.hand_over import hand_over_onnx, hand_over_tflite

    recipe, own = work.settings.recipe.recipe, own_metafile(work.settings)
    if form == "tflite":
        tflite = work.taken["tflite"]
        return hand_over_tflite(work.folder, tflite, plan.normalization, recipe.compile, own)
    crops = work.samples.calibration.crops(work.settings.model_input, 1, workers=work.threads)
    return hand_over_onnx(
        work.folder, work.taken["float"], recipe.quantize, crops, recipe.compile, own
    )


STAGE = Stage(
    name="compile",
    version=4,
    takes=("base", "plan", "qdq", "tflite"),
    gives=GIVES,
    artifact="bundle",
    format="synap",
    options=options,
    make=_make,
    samples=("calibration",),
    tools=("onnx", "onnx_ir", "pillow", "timm"),
    per_target=True,
    against=_against,
    stand_in=_stand_in,
)
WITHOUT_TFLITE = replace(STAGE, takes=("base", "plan", "qdq", "float"))
"""For models that are handed over in another form, and may have no TFLite form."""
