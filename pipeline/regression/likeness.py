"""Are a report and a baseline alike enough to be compared, and in what else do they differ?

Refused is what changes the measure and not the model: other evaluation images, other
preprocessing, another delegate, a model that was run where before one was predicted, and for
integer models a CPU that may add up bytes in another way. What makes the model (the calibration
images, the options of the recipe, versions of tools) is what a gate is there to judge: those
differences are only said.
"""

from collections.abc import Iterator

from pipeline.data.preprocess import Preprocess
from pipeline.regression.baseline import MachineMark, StageMark, TargetMark
from pipeline.regression.result import Difference

_SHOWN = 12
_EXACT_X86 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_X86 = frozenset({"x86_64", "AMD64", "amd64", "i386", "i686"})
_ARM = {"arm64": "aarch64"}


def cpu_kind(machine: MachineMark) -> str:
    """The kind of CPU, as far as integer results depend on it.

    x86 CPUs with VNNI or AMX add products of bytes in 32 bits; without, ONNX Runtime's kernels use
    VPMADDUBSW, which saturates in 16, and take other paths to avoid it (onnxruntime issue 14642,
    docs/decisions/0004-int8-on-every-cpu.md). Beyond that only the architecture counts, whose
    kernels round in other places.
    """
    if machine.machine not in _X86:
        return _ARM.get(machine.machine, machine.machine)
    if not machine.cpu_features:
        return "x86 of unknown features"
    exact = _EXACT_X86.intersection(machine.cpu_features)
    return "x86 with VNNI" if exact else "x86 without VNNI"


def unlike(before: TargetMark, now: TargetMark, *, any_cpu: bool) -> tuple[Difference, ...]:
    """Everything that forbids the comparison. `any_cpu` is the user's word that CPUs are alike."""
    return tuple(_unlike(before, now, any_cpu))


def _unlike(before: TargetMark, now: TargetMark, any_cpu: bool) -> Iterator[Difference]:
    if before.images.evaluation != now.images.evaluation:
        yield Difference(
            "evaluation images (digest)", _short(before.images.evaluation),
            _short(now.images.evaluation),
        )  # fmt: skip
    yield from _preprocessing(before.preprocess, now.preprocess)
    if None not in (before.delegate, now.delegate) and before.delegate != now.delegate:
        yield Difference("delegate", str(before.delegate), str(now.delegate))
    for name, old in before.stages.items():
        new = now.stages.get(name)
        if new is not None:
            yield from _stage(name, old, new)
    kinds = cpu_kind(before.measured_on), cpu_kind(now.measured_on)
    if before.runs_integers and now.runs_integers and not any_cpu and kinds[0] != kinds[1]:
        yield Difference("CPU, which integer results depend on", *kinds)


def _preprocessing(before: Preprocess, now: Preprocess) -> Iterator[Difference]:
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    for field in old:
        if old[field] != new[field]:
            yield Difference(f"preprocessing, {field}", str(old[field]), str(new[field]))


def _stage(name: str, old: StageMark, new: StageMark) -> Iterator[Difference]:
    if old.top1 is None or new.top1 is None:
        return
    if old.evidence != new.evidence:
        yield Difference(f"evidence of {name}", old.evidence, new.evidence)
    if old.images != new.images:
        yield Difference(f"number of images of {name}", str(old.images), str(new.images))


def changes(before: TargetMark, now: TargetMark) -> tuple[Difference, ...]:
    """What else changed, which may explain a result and forbids nothing."""
    return tuple(_changes(before, now))


def _changes(before: TargetMark, now: TargetMark) -> Iterator[Difference]:
    for name in ("calibration", "selection"):
        old, new = getattr(before.images, name), getattr(now.images, name)
        if old != new:
            yield Difference(f"{name} images (digest)", _short(old), _short(new))
    if before.handoff != now.handoff:
        yield Difference("hand-over", str(before.handoff), str(now.handoff))
    old_machine, new_machine = before.measured_on, now.measured_on
    if old_machine.machine != new_machine.machine:
        yield Difference("machine", old_machine.machine, new_machine.machine)
    if set(old_machine.cpu_features) != set(new_machine.cpu_features):
        yield Difference(
            "CPU features", _listed(old_machine.cpu_features), _listed(new_machine.cpu_features)
        )
    if old_machine.threads != new_machine.threads:
        yield Difference("threads", str(old_machine.threads), str(new_machine.threads))
    for name in sorted({*old_machine.versions, *new_machine.versions}):
        versions = old_machine.versions.get(name), new_machine.versions.get(name)
        if versions[0] != versions[1]:
            yield Difference(name, *(version or "none" for version in versions))


def _listed(words: tuple[str, ...]) -> str:
    return " ".join(words) or "none known"


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:_SHOWN]}…"
