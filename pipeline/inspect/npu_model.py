"""Describe a compiled NPU model by the head of its container; its code is not looked into."""

from collections.abc import Sequence

from pipeline.inspect.inspection import Contents
from pipeline.inspect.printable import printable
from pipeline.synap.ebgx import CLAIMED_HARDWARE, parse_ebgx
from pipeline.targets import load_target, target_names

UNKNOWN_HARDWARE = (
    "the values of hardware_type are not published: what they are taken for is not verified"
)


def npu_contents(content: bytes, where: str) -> Contents:
    """What the head of an NPU model says. Raises StageError where it is none."""
    head = parse_ebgx(content, where)
    return Contents(
        format="npu",
        facts={
            "network": printable(head.network_name),
            "hardware_type": head.hardware_type,
            "hardware_note": UNKNOWN_HARDWARE,
            "compiler_id": head.compiler_id,
            "compiler_version": head.compiler_version,
            "execution_mode": head.execution_mode,
            "secure": head.secure,
            "inputs": head.input_count,
            "outputs": head.output_count,
            "memory_areas": head.area_count,
            "code_bytes": head.code_length,
        },
    )


def target_hints(models: Sequence[Contents]) -> tuple[str, ...]:
    """Which chip the NPU models among these may be for."""
    hints = []
    for value in sorted({int(m.facts["hardware_type"]) for m in models if m.format == "npu"}):
        chip = CLAIMED_HARDWARE.get(value)
        if chip is None:
            hints.append(f"hardware_type {value:#x}: unknown")
            continue
        ours = [name for name in target_names() if load_target(name).alias == chip]
        known_as = f" ({ours[0]})" if ours else ""
        hints.append(f"hardware_type {value:#x}: {chip}{known_as} in an old driver, not verified")
    return tuple(hints)
