"""What `init` says on the terminal once the recipe is written."""

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.init import Written
    from pipeline.init.findings import Findings


def summary(written: "Written", *, toolkit: bool) -> list[str]:
    """The lines; without a toolkit the last one ends where a run can end without it."""
    found = written.findings
    model = found.model
    lines = [f"{written.path}: {model.description}, {model.outputs} outputs"]
    if model.quantized:
        lines.append(f"already quantized: {model.quantized}")
    if model.view.guessed:
        lines.append(f"to be checked, because guessed: {', '.join(model.view.guessed)}")
    if found.other_classes:
        lines.append(_other_classes(found))
    lines += [f"slow on the NPU: {finding}" for finding in model.npu]
    if found.nothing_demanded:
        lines.append(f"nothing is demanded yet: set checks.{found.first_check}.min_top1")
    return [*lines, f"next: {_next(written, toolkit)}"]


def _other_classes(found: "Findings") -> str:
    """That outputs and classes do not go together, and what a run makes of it."""
    images = found.images
    said = f"to be checked: {found.model.outputs} outputs, but "
    if images.folder is None:
        return f"{said}ImageNet has {images.classes} classes; other images will be needed"
    said += f"the images are of {images.classes} classes"
    if found.unfit_labels:
        return f"{said}, and a run stops at class {images.last_label}"
    offset = "; model.label_offset may have to be 1" if found.one_output_more else ""
    return f"{said}: class 0 is scored as output 0{offset}"


def toolkit_is_here() -> bool:
    """Whether a run of a recipe from here would find the SyNAP toolkit."""
    from pipeline.recipe import Compile
    from pipeline.synap.toolkit_find import find_toolkit

    defaults = Compile()
    return find_toolkit(defaults.toolkit, defaults.image).found is not None


def _next(written: "Written", toolkit: bool) -> str:
    words = [f"make convert CONFIG={shlex.quote(str(written.path))}"]
    if written.findings.images.folder is None:
        words.append("DATA=/path/to/images")
    if not toolkit:
        words.append(f'ARGS="{_without_toolkit(written.findings)}"')
    return " ".join(words)


def _without_toolkit(found: "Findings") -> str:
    """Options of a run. CPU bundles hold ONNX, which no quantized TFLite becomes."""
    return "--until lower" if found.judged_alone else "--set compile.delegate=cpu"
