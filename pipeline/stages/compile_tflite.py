"""`compile` for a TFLite file that came quantized: there is no Graph and no Plan of it, so what is
handed over and what the build is held to are the file's own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.stages import compile
from pipeline.stages.stage import Settings, Work

NO_CPU_FORM = (
    "a model that comes as quantized TFLite has no CPU bundle: those hold ONNX, and no form of one "
    "with TFLite is known to run"
)
"""The runtime has a delegate for TFLite, but nobody has seen what its bundles look like."""


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.lift.quantized import read_quantized
    from pipeline.synap.companions import write_companions
    from pipeline.synap.hand_over import hand_over_tflite
    from pipeline.synap.npu_build import build_for_npu

    settings, tflite = work.settings, work.taken["tflite"]
    handover, options = settings.handover, settings.recipe.recipe.compile
    assert handover is not None
    assert settings.target is not None
    if handover.toolkit is None:
        raise StageError(
            NO_CPU_FORM,
            where="compile",
            hint="with the SyNAP toolkit: compile.delegate: npu; without it, measure the model with "
            "--until lower",
        )
    normalization = _normalization(tflite, settings.model_input.normalization)
    own = compile.own_metafile(settings)
    details = build_for_npu(
        toolkit=handover.toolkit,
        target=settings.target,
        handed=hand_over_tflite(work.folder, tflite, normalization, options, own),
        plan=None,
        folder=work.folder,
        bundle=compile.BUNDLE,
        progress=work.progress,
    )
    crops, _ = next(work.samples.calibration.crops(settings.model_input, 1, workers=1))
    classes = read_quantized(tflite.read_bytes(), str(tflite)).classes
    write_companions(work.folder, compile.BUNDLE, settings.labels(classes), crops[0])
    return details


def _normalization(tflite: Path, given: Normalization) -> Normalization:
    """How it was measured: as a file of ours says itself, else as the recipe says."""
    from pipeline.runners.tflite_declared import own_preprocess

    own = own_preprocess(tflite)
    return given if own is None else own.normalization


def _options(settings: Settings) -> Mapping[str, Any]:
    """Such a file says nothing of how pictures are prepared, and the metafile does."""
    preprocess = settings.model_input.model_dump(mode="json")
    return {**compile.options(settings), "preprocess": preprocess}


STAGE = replace(
    compile.STAGE,
    takes=("tflite",),
    make=_make,
    options=_options,
    tools=("ai-edge-litert", "pillow", "timm"),
)
