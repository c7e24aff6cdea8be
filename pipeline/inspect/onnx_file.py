"""Describe an ONNX file, float or QDQ. It is neither loaded nor run, and no path in it is followed."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from pipeline.data.preprocess import METADATA_KEY, Preprocess
from pipeline.errors import StageError
from pipeline.inspect.cautions import for_the_npu, image_layout, listed, tensor_cautions
from pipeline.inspect.content import Damaged, read_content
from pipeline.inspect.inspection import Contents, Fact, QuantizationFacts, TensorFacts
from pipeline.inspect.onnx_graph import Node, OnnxGraph, Value, read_onnx
from pipeline.inspect.printable import printable
from pipeline.inspect.schemes import Grid, quantization_of
from pipeline.synap.cpu_bundle import RUNTIME_IR, RUNTIME_OPSET

MAX_TENSORS = 1_000
"""Inputs, or outputs, of a model."""
_INTEGER_OPERATORS = ("QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_BIAS_TYPE = "int32"
Grids = Mapping[tuple[bytes, ...], Grid]


def describe_onnx(path: Path) -> Contents:
    """What is in an ONNX file. Raises StageError where it is none."""
    return for_the_npu(onnx_contents(read_content(path), str(path)))


def onnx_contents(content: bytes, where: str) -> Contents:
    """What is in an ONNX model. Raises StageError where it is none."""
    try:
        graph = read_onnx(content)
        if max(len(graph.inputs), len(graph.outputs)) > MAX_TENSORS:
            raise Damaged(f"it has more than {MAX_TENSORS} inputs or outputs")
        return _describe(graph, where)
    except Damaged as error:
        raise StageError(f"is not a readable ONNX model: {error}", where=where) from None


def _describe(graph: OnnxGraph, where: str) -> Contents:
    entering = _grids(graph, "QuantizeLinear", lambda node: True)
    leaving = _grids(graph, "DequantizeLinear", lambda node: node.inputs[0] not in graph.constants)
    stored = _grids(graph, "DequantizeLinear", lambda node: _is_weight(graph, node))
    quantization = _quantization(graph, entering, stored)
    readers = {key[0]: grid for key, grid in entering.items()}
    writers = {key[-1]: grid for key, grid in leaving.items()}
    preprocess, said = _preprocess(graph, where)
    inputs = tuple(_tensor(value, readers, preprocess) for value in graph.inputs)
    outputs = tuple(_tensor(value, writers, None) for value in graph.outputs)
    return Contents(
        format="onnx",
        facts=_facts(graph),
        inputs=inputs,
        outputs=outputs,
        operators=dict(graph.operators.most_common()),
        quantization=quantization,
        warnings=(
            *_version_cautions(graph),
            *tensor_cautions(inputs, outputs),
            *_external_cautions(graph),
            *said,
        ),
    )


def _is_weight(graph: OnnxGraph, node: Node) -> bool:
    constant = graph.constants.get(node.inputs[0])
    return constant is not None and constant.dtype != _BIAS_TYPE


def _grids(graph: OnnxGraph, operator: str, wanted: Callable[[Node], bool]) -> Grids:
    """The grid of every such node, by its first input, its parameters and its output; where the
    parameters are no constants, there is none."""
    found: dict[tuple[bytes, ...], Grid] = {}
    for node in graph.nodes:
        if node.operator.rpartition(".")[2] != operator or len(node.inputs) < 2:
            continue
        if not node.outputs or not wanted(node):
            continue
        scale = graph.numbers_of(node.inputs[1])
        if not scale:
            continue
        name = node.inputs[2] if len(node.inputs) > 2 else b""
        zero = graph.constants.get(name)
        source = graph.constants.get(node.inputs[0])
        # Without a zero point QuantizeLinear gives uint8, around 0.
        dtype = zero.dtype if zero is not None else source.dtype if source else "uint8"
        points = graph.numbers_of(name) if name else None
        if points and not all(float(point).is_integer() for point in points):
            raise Damaged("a zero point is no integer")
        found[(*node.inputs[:3], node.outputs[0])] = Grid(
            dtype,
            tuple(map(float, scale)),
            tuple(map(int, points)) if points else (0,) * len(scale),
        )
    return found


def _quantization(graph: OnnxGraph, entering: Grids, stored: Grids) -> QuantizationFacts:
    if not entering and any(
        name.rpartition(".")[2].startswith(_INTEGER_OPERATORS) for name in graph.operators
    ):
        return QuantizationFacts("quantized", form="QOperator")
    floats = {name: n for name, n in graph.parameters.items() if "float" in name}
    most = max(floats, key=lambda name: floats[name], default=None)
    return quantization_of(list(entering.values()), list(stored.values()), "QDQ", most)


def _tensor(
    value: Value, grids: Mapping[bytes, Grid], preprocess: Preprocess | None
) -> TensorFacts:
    grid = grids.get(value.name)
    layout = image_layout(value.shape)
    image = preprocess if layout else None
    return TensorFacts(
        name=printable(value.name),
        shape=value.shape,
        dtype=value.dtype,
        layout=layout,
        scale=grid.scale if grid else (),
        zero_point=grid.zero_point if grid else (),
        quantized_to=grid.dtype if grid else None,
        means=in_bytes(image.mean) if image else (),
        deviations=in_bytes(image.std) if image else (),
    )


def in_bytes(fractions: tuple[float, ...]) -> tuple[float, ...]:
    """Fractions of 255 in units of bytes, rounded to a millionth: 255 * (127 / 255) is 127."""
    return tuple(round(255 * fraction, 6) for fraction in fractions)


def _preprocess(graph: OnnxGraph, where: str) -> tuple[Preprocess | None, list[str]]:
    """What the file says of its images, and what is wrong with that."""
    from pipeline.runners.onnx import declared_preprocess

    try:
        return declared_preprocess(graph.metadata, where), []
    except StageError:
        return None, [f"its metadata {METADATA_KEY!r} are no preprocessing that is known here"]


def _facts(graph: OnnxGraph) -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "producer": graph.producer or "unknown",
        "ir_version": graph.ir_version,
        "opset": graph.opsets.get("", 0),
        "nodes": sum(graph.operators.values()),
        "parameters": sum(graph.parameters.values()),
    }
    domains = sorted(f"{name} {n}" for name, n in graph.opsets.items() if name)
    facts |= {"other_opsets": ", ".join(domains)} if domains else {}
    facts |= {"functions": graph.functions} if graph.functions else {}
    facts |= {"nested_graphs": graph.nested} if graph.nested else {}
    facts |= {"metadata": ", ".join(graph.metadata)} if graph.metadata else {}
    return facts


def _version_cautions(graph: OnnxGraph) -> list[str]:
    said = []
    opset = graph.opsets.get("", 0)
    if opset > RUNTIME_OPSET or graph.ir_version > RUNTIME_IR:
        said.append(
            f"opset {opset} and IR {graph.ir_version}: the ONNX Runtime of SyNAP's CPU delegate "
            f"ends at opset {RUNTIME_OPSET} and IR {RUNTIME_IR}, and aborts beyond"
        )
    foreign = sorted({name.rpartition(".")[0] for name in graph.operators} - {""})
    if foreign:
        said.append(f"operators of {listed(foreign)}: the SyNAP toolkit knows only ONNX's own")
    return said


def _external_cautions(graph: OnnxGraph) -> list[str]:
    if not graph.external:
        return []
    files = sorted(set(graph.external))
    said = [f"{len(graph.external)} tensors lie in other files, not read: {listed(files)}"]
    leading_out = [name for name in files if _leads_out(name)]
    if leading_out:
        said.append(f"paths that lead out of the model's folder: {listed(leading_out)}")
    return said


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or name[1:2] == ":"
