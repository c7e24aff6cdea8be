"""`compile`: per target and delegate, the `.synap` file."""

from collections.abc import Mapping
from typing import Any

from pipeline.stages.stage import Settings, Stage, Work

BUNDLE = "model.synap"


def _options(settings: Settings) -> Mapping[str, Any]:
    assert settings.target is not None
    assert settings.handover is not None
    handover = settings.handover
    return {
        "target": settings.target.name,
        "delegate": handover.delegate,
        "handoff": handover.form,
        "toolkit": None if handover.toolkit is None else handover.toolkit.identity,
    }


def _stand_in(settings: Settings) -> str | None:
    """An NPU model cannot be run here; the quantized ONNX predicts it."""
    assert settings.handover is not None
    return None if settings.handover.toolkit is None else "quantize"


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.synap.cpu_bundle import write_cpu_bundle
    from pipeline.synap.npu_build import build_for_npu

    handover = work.settings.handover
    assert handover is not None
    assert work.settings.target is not None
    if handover.toolkit is None:
        write_cpu_bundle(work.taken["qdq"], work.folder / BUNDLE)
        return {}
    return build_for_npu(
        toolkit=handover.toolkit,
        target=work.settings.target,
        graph=work.taken["base"],
        options=work.settings.recipe.recipe.quantize,
        crops=work.samples.calibration.crops(work.settings.model_input, 1, workers=work.threads),
        folder=work.folder,
        bundle=BUNDLE,
        progress=work.progress,
    )


STAGE = Stage(
    name="compile",
    version=1,
    takes=("base", "qdq"),
    gives={"bundle": BUNDLE},
    artifact="bundle",
    format="synap",
    options=_options,
    make=_make,
    samples=("calibration",),
    tools=("onnx", "onnx_ir"),
    per_target=True,
    against=lambda settings: "quantize",  # what is handed over comes from there, not from `lower`
    stand_in=_stand_in,
)
