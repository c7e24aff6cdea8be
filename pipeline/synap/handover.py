"""Decide how a model is handed over: which delegate, by which toolkit, and why."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import Missing
from pipeline.recipe import Compile
from pipeline.synap.toolkit_find import Toolkit, find_toolkit

CPU_NOTICE = "CPU bundle, not an NPU build"
"""Said beside the path of every CPU-delegate bundle, wherever it is shown."""


@dataclass(frozen=True)
class Handover:
    """The decision. `fallback` is why the CPU delegate stands in for the NPU, or empty;
    `missing` is set where there is no way to do what the recipe asks."""

    delegate: Literal["npu", "cpu"]
    toolkit: Toolkit | None = None
    fallback: str = ""
    missing: Missing | None = None
    handoff: Literal["tflite", "onnx"] = "tflite"

    @property
    def form(self) -> str:
        """What is handed over: the integer TFLite, the float Graph for the toolkit to quantize, or,
        for the CPU, the QDQ ONNX."""
        return self.handoff if self.delegate == "npu" else "qdq-onnx"


def decide_handover(options: Compile, *, comes_as_integers: bool = False) -> Handover:
    """Look for the toolkit where the NPU is asked for, and fall back only where the recipe says so.

    A quantized TFLite (`comes_as_integers`) can have no bundle for the CPU, so none is advised.
    """
    if options.delegate == "cpu":
        return Handover("cpu")
    search = find_toolkit(options.toolkit, options.image)
    if search.found is not None:
        return Handover("npu", search.found, handoff=options.handoff)
    looked = "; ".join(search.looked_at)
    if options.if_toolkit_missing == "cpu":
        return Handover("cpu", fallback=f"no SyNAP toolkit ({looked})")
    without = "or use the CPU delegate: --set compile.delegate=cpu"
    if comes_as_integers:
        without = "or measure it without the toolkit: --until lower"
    return Handover(
        "npu",
        missing=Missing(
            f"the SyNAP toolkit, which delegate npu needs ({looked})",
            f"{search.hint}; {without}",
        ),
        handoff=options.handoff,
    )
