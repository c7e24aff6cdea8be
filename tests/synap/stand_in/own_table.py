"""Part of the test double: a table such as the toolkit leaves when it quantizes by itself.

Ranges are the least and largest values of the model's tensors on the calibration images. What the
table's form is known from, and from whom, stands in `pipeline/synap/quantization_table.py`; the keys
of layers that were not fused, types and schemes are as there. It is no claim about the toolkit's own
choice of ranges. Shares no code with the package under test.

`SYNAP_STAND_IN_TABLE` is JSON that changes it: `float` (nodes that stay float), `types` (a qtype for
some nodes), `drop` and `given` (by `node:port`: entries left out, and fields in place of those
computed), `raw` (a text in place of the whole file), `bare` (true: without headings).
"""

import glob
import json
import os
from pathlib import Path
from typing import Any

import yaml

QTYPES = {"uint8": "u8", "int8": "i8", "int16": "i16"}
ENDS = {"u8": (0, 255), "i8": (-128, 127), "i16": (-32768, 32767)}
WITH_WEIGHTS = {"Conv": 0, "Gemm": 0, "MatMul": 1}
"""Operators, and the axis of the output channels."""
AXES = {"Conv": 0, "Gemm": -1, "MatMul": -1}


def write_table(path: Path, model: Path, meta: dict[str, Any], folder: Path, version: str) -> None:
    changes = json.loads(os.environ.get("SYNAP_STAND_IN_TABLE", "{}"))
    if "raw" in changes:
        path.write_text(changes["raw"])
        return
    graph = graph_of(model)
    entries = (
        {} if graph is None else entries_of(graph, ranges_of(model, meta, folder), meta, changes)
    )
    table = {
        "customized_quantize_layers": {} if graph is None else own_types(graph, meta, changes),
        "quantize_parameters": entries or "made up",
    }
    heading = f"Model converted with SyNAP toolkit {version}\n" + "=" * 100 + "\n"
    heading += "Detailed graph information for subgraph_0:\n"
    path.write_text(("" if "bare" in changes else heading) + yaml.safe_dump(table, sort_keys=False))


def graph_of(model: Path) -> Any:
    """None for a file that is no model at all, for tests that only look at the call."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(str(model)).graph
    except DecodeError:
        return None
    return graph if graph.node else None


def own_types(graph: Any, meta: dict[str, Any], changes: dict[str, Any]) -> dict[str, str]:
    """ "return 'float32'" for float16 and 'dynamic_fixed_point-i16' for int16: the toolkit's words
    for layers of mixed types."""
    layers = {}
    for node, kind in wanted(meta, changes).items():
        word = "float32" if kind == "float16" else "dynamic_fixed_point-i16"
        layers |= {layer: word for layer, name in numbered(graph).items() if name == node}
    return layers


def wanted(meta: dict[str, Any], changes: dict[str, Any]) -> dict[str, str]:
    """The types of nodes that have their own: the metafile's, and what the test asks for."""
    given = meta["quantization"].get("data_type", "uint8")
    asked = {k: v for k, v in given.items() if k != "*"} if isinstance(given, dict) else {}
    return {**asked, **dict.fromkeys(changes.get("float", ()), "float16")}


def numbered(graph: Any) -> dict[str, str]:
    """The layers' ids, `{operator}_{node}_{number}`, and their nodes' names."""
    return {
        f"{node.op_type}_{node.name}_{len(graph.node) - number}": node.name
        for number, node in enumerate(graph.node)
    }


def entries_of(
    graph: Any,
    ranges: dict[str, tuple[float, float]],
    meta: dict[str, Any],
    changes: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    from onnx import numpy_helper

    section = meta["quantization"]
    given = section.get("data_type", "uint8")
    base = given if isinstance(given, str) else given.get("*", "uint8")
    scheme, own = section.get("scheme", "asymmetric_affine"), wanted(meta, changes)
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    layers = {name: layer for layer, name in numbered(graph).items()}
    entries: dict[str, dict[str, Any]] = {}
    scales: dict[str, float] = {}

    def qtype_of(node: str) -> str:
        return changes.get("types", {}).get(node) or QTYPES[own.get(node, base)]

    def add(node: str, port: str, layer: str, entry: dict[str, Any]) -> None:
        entry |= changes.get("given", {}).get(f"{node}:{port}", {})
        if f"{node}:{port}" not in changes.get("drop", ()):
            entries[f"@{layer}:{port}"] = entry

    image = graph.input[0].name
    entry = one_scale(*ranges[image], qtype_of(image), scheme)
    add(image, "out0", f"{image}_{len(graph.node) + 1}", entry)
    scales[image] = step(entry)
    for node in graph.node:
        if own.get(node.name) == "float16":
            continue
        kind, result = qtype_of(node.name), node.output[0]
        axis = WITH_WEIGHTS.get(node.op_type)
        for index, name in enumerate(node.input):
            if name not in constants or constants[name].dtype.kind != "f":
                continue
            if axis is None and node.op_type not in ("Clip", "Pad"):
                array = constants[name]
                entry = one_scale(array.min(), array.max(), kind, scheme)
                add(name, "out0", f"Initializer_{name}_{900 + len(entries)}", entry)
            elif axis is not None and index == 1:
                weight = weights(constants[name], axis, AXES[node.op_type], kind, scheme)
                add(node.name, "weight", layers[node.name], weight)
        if axis is not None and len(node.input) > 2 and node.input[0] in scales:
            product = [scales[node.input[0]] * one for one in as_list(weight)]
            bias = {
                "qtype": "i32",
                "quantizer": weight["quantizer"],
                "rounding": "rtne",
                "scale": product if isinstance(weight.get("scale"), list) else product[0],
                "zero_point": [0] * len(product) if isinstance(weight.get("scale"), list) else 0,
            }
            add(node.name, "bias", layers[node.name], bias)
        if result in ranges:
            entry = one_scale(*ranges[result], kind, scheme)
            add(node.name, "out0", layers[node.name], entry)
            scales[result] = step(entry)
            if result == graph.output[0].name:
                attached = f"attach_{node.op_type}_{node.name}/out0_0"
                add(result, "out0", attached, dict(entry))
    return entries


def ranges_of(model: Path, meta: dict[str, Any], folder: Path) -> dict[str, tuple[float, float]]:
    """Least and largest value of every float tensor on the calibration images."""
    import numpy as np
    import onnx
    import onnxruntime
    from PIL import Image

    proto = onnx.load(str(model))
    made = {output for node in proto.graph.node for output in node.output}
    known = {item.name for item in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(made - known))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    said, image = meta["inputs"][0], session.get_inputs()[0].name
    ranges: dict[str, tuple[float, float]] = {}
    for name in sorted(glob.glob(str(folder / meta["quantization"]["dataset"][0]))):
        picture = np.asarray(Image.open(name), np.float32) - np.float32(said["means"])
        batch = (picture / said["scale"]).transpose(2, 0, 1)[None].astype(np.float32)
        names = [output.name for output in session.get_outputs()]
        for key, value in {
            image: batch, **dict(zip(names, session.run(None, {image: batch}), strict=True))
        }.items():  # fmt: skip
            if value.dtype.kind == "f":
                low, high = ranges.get(key, (0.0, 0.0))
                ranges[key] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges


def one_scale(low: float, high: float, qtype: str, scheme: str) -> dict[str, Any]:
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    entry: dict[str, Any] = {"qtype": qtype, "rounding": "rtne"}
    entry |= {"max_value": high, "min_value": low}
    least, largest = ENDS[qtype]
    if qtype == "i16" or scheme == "dynamic_fixed_point":
        length = 0
        while max(-low, high) * 2.0 ** (length + 1) <= largest and length < 60:
            length += 1
        while max(-low, high) * 2.0**length > largest:
            length -= 1
        return entry | {"quantizer": "dynamic_fixed_point", "fl": length}
    scale = (high - low) / 255 or 1.0
    zero = min(max(round(least - low / scale), least), largest)
    return entry | {"quantizer": "asymmetric_affine", "scale": scale, "zero_point": zero}


def weights(array: Any, axis: int, said_axis: int, qtype: str, scheme: str) -> dict[str, Any]:
    if scheme != "perchannel_symmetric_affine" or qtype != "i8":
        return one_scale(array.min(), array.max(), qtype, scheme)
    others = tuple(i for i in range(array.ndim) if i != axis)
    scales = [float(value) / 127 or 1.0 for value in abs(array).max(axis=others)]
    return {
        "qtype": "i8", "quantizer": scheme, "rounding": "rtne", "scale": scales,
        "channel_dim": said_axis,
    }  # fmt: skip


def step(entry: dict[str, Any]) -> float:
    return as_list(entry)[0]


def as_list(entry: dict[str, Any]) -> list[float]:
    if "fl" in entry:
        return [2.0 ** -entry["fl"]]
    return entry["scale"] if isinstance(entry["scale"], list) else [entry["scale"]]
