"""Stand-ins for the toolkit and the container engines, put on a PATH that has nothing else."""

import math
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

IMAGE = "ghcr.io/synaptics-synap/toolkit:3.2.0"
IMAGE_ID = "sha256:5ca1ab1e"
STAND_IN = Path(__file__).parent / "stand_in"


@dataclass(frozen=True)
class StandIns:
    """The PATH of a test and what is on it."""

    bin: Path
    state: Path
    monkeypatch: pytest.MonkeyPatch

    def converter(self, name: str = "synap_convert") -> Path:
        """Put the stand-in converter on the PATH."""
        return self._script(name, STAND_IN / "synap_convert.py")

    def engine(self, name: str, *, image: str | None = IMAGE) -> Path:
        """Put a stand-in container engine on the PATH, with an image or without."""
        (self.state / "images").write_text(f"{image} {IMAGE_ID}\n" if image else "")
        return self._script(name, STAND_IN / "engine.py")

    def fail(self, how: str) -> None:
        """Make the converter fail in this way."""
        self.monkeypatch.setenv("SYNAP_STAND_IN", how)

    def fail_engine(self, how: str) -> None:
        """Make the engines fail in this way."""
        self.monkeypatch.setenv("SYNAP_STAND_IN_ENGINE", how)

    def remembered_pids(self) -> list[int]:
        """The processes that the converter left for the test to look at."""
        path = self.state / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def _script(self, name: str, program: Path) -> Path:
        path = self.bin / name
        path.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(program))} "$@"\n'
        )
        path.chmod(0o755)
        return path


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """An empty PATH of the test's own."""
    made = StandIns(tmp_path / "bin", tmp_path / "state", monkeypatch)
    made.bin.mkdir()
    made.state.mkdir()
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.setenv("SYNAP_STAND_IN_STATE", str(made.state))
    for name in [name for name in os.environ if name.startswith("SYNAP_STAND_IN_E")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SYNAP_STAND_IN", raising=False)
    return made


@pytest.fixture
def network() -> Any:
    """A small canonical Graph: conv1, relu1, maxpool1, conv2, add1 (of both), mul1 by a constant,
    globalaveragepool1, flatten1, gemm1."""
    import numpy as np
    import onnx_ir as ir
    from onnx import TensorProto, helper, numpy_helper

    from pipeline.data.preprocess import Preprocess
    from pipeline.graph.canonical import canonicalize
    from pipeline.graph.file import set_preprocess

    random = np.random.default_rng(3)
    constants = {
        name: random.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in {
            "w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 4, 1, 1), "k": (1, 4, 1, 1), "w3": (5, 4),
            "b3": (5,),
        }.items()
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["m1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["m1", "w2"], ["c2"]),
        helper.make_node("Add", ["m1", "c2"], ["a1"]),
        helper.make_node("Mul", ["a1", "k"], ["k1"]),
        helper.make_node("GlobalAveragePool", ["k1"], ["g1"]),
        helper.make_node("Flatten", ["g1"], ["f1"]),
        helper.make_node("Gemm", ["f1", "w3", "b3"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )
    canonicalize(model)
    set_preprocess(model, Preprocess(size=8, mean=(0.5, 0.4, 0.45), std=(0.25,) * 3))
    return model


@pytest.fixture
def plan_of(network: Any) -> Any:
    """`plan_of(**quantize)`: our own Plan of the small Graph."""
    import numpy as np

    from pipeline.graph.file import preprocess_in
    from pipeline.quant.make_plan import make_plan, placement_for
    from pipeline.quant.observe import observe
    from pipeline.recipe import Quantize, Ranges

    crops = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)

    def make(**options: Any) -> Any:
        quantize = Quantize(**options)
        normalization = preprocess_in(network, "").normalization
        tensors = placement_for(network, quantize).observed
        seen = observe(network, tensors, normalization, [crops], 1)
        rule = Ranges(rule="minmax")
        return make_plan(network, "0" * 64, normalization, seen, quantize, rule)

    return make


QTYPES = {"uint8": "u8", "int8": "i8", "int16": "i16"}


@pytest.fixture
def table_of(network: Any) -> Any:
    """`table_of(plan, drop=(), **changes)`: the table that says what the Plan says, by key, for
    the small Graph; `changes` are fields by key."""

    def make(plan: Any, drop: Any = (), changes: Any = None) -> dict[str, dict[str, Any]]:
        made: dict[str, dict[str, Any]] = {}
        for number, node in enumerate(network.graph):
            layer, result = f"@{node.op_type}_{node.name}_{number + 1}", node.outputs[0].name
            if node.name == "conv1":  # before its Relu, which no Plan has
                made[f"{layer}:out0"] = fields(plan.activations["relu1"], plan.scheme)
            if result in plan.activations:
                made[f"{layer}:out0"] = fields(plan.activations[result], plan.scheme)
            for port in ("weight", "input1"):
                weight = plan.weights.get(f"{node.name}_{port}")
                key = {"weight": f"{layer}:weight", "input1": "@Initializer_mul1_input1_77:out0"}
                if weight is not None:
                    made[key[port]] = fields(weight, plan.scheme)
            bias = plan.biases.get(node.name)
            if bias is not None and len(node.inputs) > 2:
                made[f"{layer}:bias"] = {"qtype": "i32", "scale": list(bias.scale)}
        made["@input_99:out0"] = fields(plan.activations["input"], plan.scheme)
        for key in drop:
            del made[key]
        for key, changed in (changes or {}).items():
            made[key] = {**made.get(key, {}), **changed}
        return made

    return make


def fields(tensor: Any, scheme: str) -> dict[str, Any]:
    """A Plan's tensor in the table's words."""
    entry: dict[str, Any] = {"qtype": QTYPES[tensor.data_type], "rounding": "rtne"}
    if scheme == "dynamic_fixed_point" or tensor.data_type == "int16":
        (scale,), (zero,) = tensor.scale, tensor.zero_point
        entry["quantizer"] = "dynamic_fixed_point"
        length = -math.log2(scale)
        if length == round(length):
            return entry | {"fl": round(length)}
        return entry | {"scale": scale, "zero_point": zero}  # our input: the image's own bytes
    if tensor.axis is not None:
        quantizer = "perchannel_symmetric_affine"
        return entry | {"quantizer": quantizer, "scale": list(tensor.scale), "channel_dim": 0}
    (scale,), (zero,) = tensor.scale, tensor.zero_point
    return entry | {"quantizer": "asymmetric_affine", "scale": scale, "zero_point": zero}


@pytest.fixture
def read_table() -> Any:
    """`read_table(entries, layers={})`: a table as the toolkit would leave it, read."""
    import yaml

    from pipeline.synap.quantization_table import parse_quantization_table

    def read(entries: Any, layers: Any = None) -> Any:
        text = yaml.safe_dump(
            {"customized_quantize_layers": layers or {}, "quantize_parameters": entries}
        )
        return parse_quantization_table(text)

    return read
