"""An inspected file as people read it: what it is, its tensors, what is in it, and what to mind."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.inspect.inspection import (
    Contents,
    Fact,
    Inspection,
    QuantizationFacts,
    SubgraphFacts,
    TensorFacts,
)
from pipeline.inspect.printable import printable

_TENSORS = 12
_OPERATORS = 12
_CLASSES = 4
"""How many are shown; `--json` has them all."""
_INDENT = 2
_KEY = 10
_PATH = 4_096
_ELSEWHERE = ("subgraphs", "npu_build", "hardware_type", "hardware_note")
"""Facts that other lines say."""
_KINDS = {
    "synap": "SyNAP bundle", "onnx": "ONNX model", "tflite": "TFLite model",
    "metafile": "conversion metafile", "npu": "compiled NPU model",
}  # fmt: skip
_STORED_FORMS = ("QDQ", "QOperator", "by the toolkit")


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print to this console. Nothing in a file's own texts is taken for markup."""
    contents = inspection.contents
    console.print(Text(printable(inspection.path, _PATH), style="bold"), soft_wrap=True)
    # Apart from the rest, whose longer words would leave a digest no line of its own.
    kind = f"{_KINDS[contents.format]}, {_bytes(inspection.bytes)}"
    console.print(_facts([("format", kind), ("sha256", inspection.sha256)]))
    pairs = _headlines(contents)
    pairs += [("subgraphs", str(len(contents.subgraphs)))] if len(contents.subgraphs) > 1 else []
    console.print(_facts(pairs))
    _print_tensors(contents, console)
    for subgraph in contents.subgraphs:
        _print_subgraph(subgraph, contents, console)
    _print_list("breaks the rules:", contents.violations, "bold red", console)
    _print_list("mind:", contents.warnings, "yellow", console)


def _headlines(contents: Contents) -> list[tuple[str, str]]:
    pairs = [("delegate", ", ".join(contents.delegates))] if contents.delegates else []
    if contents.quantization is not None:
        pairs.append(("numbers", _quantization(contents.quantization)))
    pairs += [("target", hint) for hint in contents.target_hints]
    pairs += [(key.replace("_", " "), _fact(value)) for key, value in _shown(contents.facts)]
    if contents.operators:
        pairs.append(("operators", _operators(contents.operators)))
    if contents.class_names:
        shown = "; ".join(contents.class_names[:_CLASSES])
        more = "; …" if len(contents.class_names) > _CLASSES else ""
        pairs.append(("classes", f"{len(contents.class_names)}: {shown}{more}"))
    return pairs


def _shown(facts: Mapping[str, Fact]) -> list[tuple[str, Fact]]:
    return [(key, value) for key, value in facts.items() if key not in _ELSEWHERE]


def _print_subgraph(subgraph: SubgraphFacts, bundle: Contents, console: Console) -> None:
    model = subgraph.model
    secured = ", secured" if subgraph.secure else ""
    title = f"subgraph {subgraph.number}: {subgraph.entry}, {_KINDS[model.format]}{secured}"
    console.print(Text(f"\n{title}", style="bold"), soft_wrap=True)
    pairs = [("size", _bytes(subgraph.bytes)), ("sha256", subgraph.sha256)]
    console.print(_facts(pairs))
    pairs = [("delegate", subgraph.engine), ("reads", "; ".join(subgraph.sources))]
    console.print(_facts(pairs + _headlines(model)))
    if len(bundle.subgraphs) > 1:
        described = Contents("synap", inputs=subgraph.inputs, outputs=subgraph.outputs)
        _print_tensors(described, console, "as the bundle describes it")
    if model.inputs:
        _print_tensors(model, console, "as the model itself says")


def _facts(pairs: Sequence[tuple[str, str]]) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=_KEY)
    table.add_column(overflow="fold")
    for key, value in pairs:
        table.add_row(Text(key), Text(value))
    return Padding(table, (0, 0, 0, _INDENT))


def _print_tensors(contents: Contents, console: Console, title: str = "") -> None:
    rows = [("in", tensor) for tensor in contents.inputs[:_TENSORS]]
    rows += [("out", tensor) for tensor in contents.outputs[:_TENSORS]]
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for heading in ("tensor", "shape"):
        table.add_column(heading, overflow="fold")
    for heading in ("type", "layout", "scale", "zero"):
        table.add_column(heading, no_wrap=True)
    for kind, tensor in rows:
        table.add_row(kind, *map(Text, _cells(tensor)))
    console.print()
    if title:
        console.print(Padding(Text(title, style="dim"), (0, 0, 0, _INDENT)))
    console.print(Padding(table, (0, 0, 0, _INDENT)))
    images = [tensor for tensor in contents.inputs[:_TENSORS] if tensor.means or tensor.deviations]
    for tensor in images:
        line = Text(f"{tensor.name} = {_normalization(tensor)}")
        console.print(Padding(line, (0, 0, 0, _INDENT)))
    hidden = max(0, len(contents.inputs) - _TENSORS) + max(0, len(contents.outputs) - _TENSORS)
    if hidden:
        console.print(Padding(Text(f"and {hidden} more", style="dim"), (0, 0, 0, _INDENT)))


def _cells(tensor: TensorFacts) -> list[str]:
    shape = "?" if tensor.shape is None else f"[{', '.join(map(str, tensor.shape))}]"
    dtype = tensor.dtype or "-"
    if tensor.quantized_to:
        dtype = f"{dtype} as {tensor.quantized_to}"
    return [
        tensor.name, shape, dtype, tensor.layout or "-", _several(tensor.scale),
        _several(tensor.zero_point),
    ]  # fmt: skip


def _several(numbers: Sequence[float]) -> str:
    """A number, or how many different ones there are."""
    distinct = sorted(set(numbers))
    if not distinct:
        return "-"
    return f"{distinct[0]:.6g}" if len(distinct) == 1 else f"{len(numbers)} values"


def _normalization(tensor: TensorFacts) -> str:
    means, deviations = _numbers(tensor.means or (0.0,)), _numbers(tensor.deviations or (1.0,))
    meaning = f"  ({tensor.meaning})" if tensor.meaning else ""
    return f"(byte - {means}) / {deviations}{meaning}"


def _numbers(values: Sequence[float]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return f"[{', '.join(f'{value:g}' for value in values)}]"


def _quantization(facts: QuantizationFacts) -> str:
    if facts.kind == "float":
        return facts.data_type or "float"
    words = [facts.data_type or "integers", facts.scheme or "no scheme of SyNAP's"]
    if facts.kind == "weights only":
        words.append("weights only")
    words += [facts.form] if facts.form in _STORED_FORMS else []
    words += [f"{facts.tensors} tensors"] if facts.tensors is not None else []
    return ", ".join(words)


def _operators(operators: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in list(operators.items())[:_OPERATORS])
    hidden = len(operators) - _OPERATORS
    return f"{shown} and {hidden} more kinds" if hidden > 0 else shown


def _print_list(title: str, lines: Sequence[str], style: str, console: Console) -> None:
    if not lines:
        return
    console.print(Text(f"\n{title}", style=style))
    for line in lines:
        console.print(Padding(Text(f"- {line}"), (0, 0, 0, _INDENT)))


def _fact(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and value >= 10**6:
        return f"{value / 10**6:.1f} million"
    return str(value)


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
