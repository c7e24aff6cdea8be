"""What of a model the NPU will not run well, said when the float Graph is made."""

from typing import TYPE_CHECKING

from pipeline.stages.stage import Work

if TYPE_CHECKING:
    import onnx_ir as ir


def note_for_npu(work: Work, graph: "ir.Model") -> list[str]:
    """The findings in words, for the stage's details. Those that matter are shown, whatever delegate
    this run is for: the stage's result is kept for others. Every network has convolutions with
    strides, which cost little."""
    from pipeline.synap.npu_operators import npu_findings

    findings = npu_findings(graph.graph)
    for finding in findings:
        if finding.effect != "slower":
            work.progress.note(str(finding))
    return [str(finding) for finding in findings]
