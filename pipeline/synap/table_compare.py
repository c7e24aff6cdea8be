"""Hold the toolkit's own quantization against what the recipe asked for, and against our Plan.

A fault is where the toolkit did not do what it was asked: another type, another scheme, a layer left
in float that was not to be, or the other way round. Scales are the toolkit's to choose, and it has
other range rules than ours: where they are far apart is only noted, because our Plan is then a poor
prediction. A tensor without an entry is noted as not seen.
"""

from dataclasses import dataclass

from pipeline.quant.plan import Plan, TensorPlan
from pipeline.synap.quantization_table import TableEntry
from pipeline.synap.table_match import Matched
from pipeline.synap.table_replay import named

SCALE_FACTOR = 2.0
"""Times that a scale has to be larger or smaller than ours to be mentioned: one bit."""
ASKED = "the toolkit's own table has the types and schemes that were asked for"


@dataclass(frozen=True)
class Comparison:
    """What differs, in words."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]
    complete: bool
    """Whether every tensor was seen and is as asked for."""


def compare(matched: Matched, plan: Plan) -> Comparison:
    """Compare the table with the Plan, whose types and schemes are what the recipe asked for."""
    work = _Work(matched, plan)
    for kind, planned, found in (
        ("results", plan.activations, matched.activations),
        ("weights", plan.weights, matched.weights),
    ):
        for name, tensor in planned.items():
            work.look(kind, name, tensor, found.get(name))
    for node in (name for name, type in plan.layers.items() if type == "float16"):
        entry = matched.weights.get(f"{node}_weight")
        if entry is not None and not entry.is_float and node not in matched.floats:
            work.fault(f"float16 was asked for, {entry.data_type} came out", node)
    notes = [f"{what}: {named(names)}" for what, names in work.notes.items()]
    complete = not work.faults and not work.notes
    if work.far:
        far = sorted(work.far, key=lambda item: -item[0])
        said = (f"{name} ({times:.1f} times)" for times, name in far)
        notes.append(f"scales more than {SCALE_FACTOR:g} times off ours: {named(said)}")
    if matched.unmatched:
        count = len(matched.unmatched)
        notes.append(f"{count} of the table's layers are not ours: {named(matched.unmatched)}")
    faults = [f"{what}: {named(names)}" for what, names in work.faults.items()]
    return Comparison(tuple(faults), tuple(notes), complete)


class _Work:
    """Differences while they are found; each maps to the tensors it concerns."""

    def __init__(self, matched: Matched, plan: Plan) -> None:
        self.matched, self.plan = matched, plan
        self.faults: dict[str, list[str]] = {}
        self.notes: dict[str, list[str]] = {}
        self.far: list[tuple[float, str]] = []

    def look(self, kind: str, name: str, planned: TensorPlan, entry: TableEntry | None) -> None:
        node = name.partition("_")[0] if kind == "weights" else name
        if node in self.matched.floats or (entry is not None and entry.is_float):
            self.fault(f"{kind} left in float that were to be {planned.data_type}", name)
        elif entry is None:
            self.note(f"{kind} that the toolkit's table does not have", name)
        elif entry.data_type != planned.data_type:
            what = f"{planned.data_type} was asked for, {entry.data_type} came out ({kind})"
            # Which results take over a mixed layer's type is the toolkit's own matter.
            surely = kind == "weights" or not self.plan.is_mixed
            (self.fault if surely else self.note)(what, name)
        else:
            self._look_at_scheme(kind, name, planned, entry)
            times = _apart(planned.scale, entry.scale)
            if times > SCALE_FACTOR:
                self.far.append((times, name))

    def _look_at_scheme(self, kind: str, name: str, planned: TensorPlan, entry: TableEntry) -> None:
        asked: str = self.plan.scheme
        if planned.data_type == "int16":
            asked = "dynamic_fixed_point"
        elif asked == "perchannel_symmetric_affine" and (kind == "results" or planned.axis is None):
            asked = "asymmetric_affine"
            if kind == "weights":  # a constant that is no layer's weights has one scale in any case
                return
        if entry.quantizer != asked:
            found = entry.quantizer or "no scheme"
            self.fault(f"{asked} was asked for, {found} came out ({kind})", name)

    def fault(self, what: str, name: str) -> None:
        self.faults.setdefault(what, []).append(name)

    def note(self, what: str, name: str) -> None:
        self.notes.setdefault(what, []).append(name)


def _apart(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    """The largest quotient of two scales, at least 1; 1 where their numbers differ."""
    if len(ours) != len(theirs):
        return 1.0
    return max(max(a / b, b / a) for a, b in zip(ours, theirs, strict=True))
