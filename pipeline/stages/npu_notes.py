"""What of a model the NPU will not run well, said when the float Graph is made."""

from typing import TYPE_CHECKING

from pipeline.stages.stage import Work

if TYPE_CHECKING:
    import onnx_ir as ir


def note_for_npu(work: Work, graph: "ir.Model") -> list[str]:
    """The findings in words, for the stage's details. Those that matter are shown where the recipe is
    for the NPU; every network has convolutions with strides, which cost little."""
    from pipeline.synap.npu_operators import npu_findings

    findings = npu_findings(graph.graph)
    if work.settings.recipe.recipe.compile.delegate == "npu":
        for finding in findings:
            if finding.effect != "slower":
                work.progress.note(str(finding))
    return [str(finding) for finding in findings]
