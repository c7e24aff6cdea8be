"""The canonical form keeps the function and has the rules it claims, on small hand-made models."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import StageError
from pipeline.graph.canonical import canonicalize, check_canonical, fix_batch

Arrays = dict[str, NDArray[Any]]
IMAGE = (2, 4, 6, 6)


def model_of(
    nodes: list[onnx.NodeProto],
    constants: Arrays,
    output_shape: tuple[int, ...],
    *,
    shape: tuple[int, ...] = IMAGE,
    opset: int = 13,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A model from `x` to `y`, the first dimension free."""
    free: tuple[list[Any], list[Any]] = (["n", *shape[1:]], ["n", *output_shape[1:]])
    graph = helper.make_graph(
        nodes,
        "made by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, free[0])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, free[1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    onnx.checker.check_model(model)
    return model


def node(op: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), name=name, **attributes)


def results(model: onnx.ModelProto, image: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    output: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: image})[0]
    return output


def loaded(model: onnx.ModelProto) -> ir.Model:
    """The model in memory; from a copy, because renaming a tensor reaches into the proto."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return ir.from_proto(copy)


def canonical(model: onnx.ModelProto) -> ir.Model:
    """The canonical form, held to the original on random images of several batch sizes."""
    made = loaded(model)
    canonicalize(made)
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    for batch in (1, 2, 5):
        image = np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)
        np.testing.assert_allclose(
            results(proto, image), results(model, image), rtol=1e-4, atol=1e-5
        )
    names = [item.name for item in made.graph]
    assert len(set(names)) == len(names)
    assert all(name is not None and name.isalnum() and len(name) <= 24 for name in names)
    assert [item.outputs[0].name for item in made.graph][:-1] == names[:-1]
    assert (made.graph.inputs[0].name, made.graph.outputs[0].name) == ("input", "logits")
    assert made.opset_imports == {"": 13} and made.ir_version == 8
    for value in made.graph.initializers.values():
        assert len(list(value.uses())) == 1, f"{value.name} has {len(list(value.uses()))} readers"
        [use] = value.uses()
        assert (value.name or "").startswith(f"{use.node.name}_")
    return made


def kinds(model: ir.Model) -> list[str]:
    return [item.op_type for item in model.graph]


def random_array(
    *shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0
) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def batch_norm(prefix: str, channels: int, seed: int = 1) -> Arrays:
    return {
        f"{prefix}_gamma": random_array(channels, seed=seed),
        f"{prefix}_beta": random_array(channels, seed=seed + 1),
        f"{prefix}_mean": random_array(channels, seed=seed + 2),
        f"{prefix}_var": random_array(channels, seed=seed + 3, low=0.1, high=2.0),
    }


def norm_node(prefix: str, source: str, result: str, **attributes: Any) -> onnx.NodeProto:
    parts = " ".join(f"{prefix}_{part}" for part in ("gamma", "beta", "mean", "var"))
    return node("BatchNormalization", f"{source} {parts}", result, **attributes)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
def test_a_batch_norm_behind_a_convolution_disappears(
    bias: bool, group: int, epsilon: float
) -> None:
    constants = {"w": random_array(6, 4 // group, 3, 3), **batch_norm("bn", 6)}
    if bias:
        constants["b"] = random_array(6, seed=9)
    model = model_of(
        [
            node("Conv", "x w b" if bias else "x w", "c", group=group, pads=[1] * 4),
            norm_node("bn", "c", "y", epsilon=epsilon),
        ],
        constants,
        (2, 6, 6, 6),
    )
    made = canonical(model)
    assert kinds(made) == ["Conv"]
    assert sorted(made.graph.initializers) == ["conv1_bias", "conv1_weight"]


def test_batch_norms_that_nothing_can_take_up() -> None:
    model = model_of(
        [
            norm_node("a", "x", "n1"),  # at the input
            node("Relu", "n1", "r"),
            norm_node("b", "r", "n2"),  # behind something that is no convolution
            node("Conv", "n2 w", "c"),
            norm_node("c", "c", "n3"),  # behind a convolution that something else reads, too
            node("Add", "n3 c", "y"),
        ],
        {
            **batch_norm("a", 4, 10),
            **batch_norm("b", 4, 20),
            **batch_norm("c", 5, 30),
            "w": random_array(5, 4, 1, 1),
        },
        (2, 5, 6, 6),
    )
    made = canonical(model)
    assert kinds(made) == ["Mul", "Add", "Relu", "Mul", "Add", "Conv", "Mul", "Add", "Add"]


def test_batch_norms_in_a_row() -> None:
    model = model_of(
        [node("Conv", "x w", "c"), norm_node("a", "c", "n"), norm_node("b", "n", "y")],
        {"w": random_array(4, 4, 1, 1), **batch_norm("a", 4, 10), **batch_norm("b", 4, 20)},
        IMAGE,
    )
    assert kinds(canonical(model)) == ["Conv"]


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 7), (2, 4, 3, 3, 3)])
def test_a_batch_norm_of_another_rank(shape: tuple[int, ...]) -> None:
    model = model_of([norm_node("a", "x", "y")], batch_norm("a", 4), shape, shape=shape)
    assert kinds(canonical(model)) == ["Mul", "Add"]


def test_a_batch_norm_behind_a_classifier() -> None:
    model = model_of(
        [
            node("GlobalAveragePool", "x", "p"),
            node("Flatten", "p", "f"),
            node("Gemm", "f w b", "g", transB=1),
            norm_node("a", "g", "y"),
        ],
        {"w": random_array(3, 4), "b": random_array(3), **batch_norm("a", 3)},
        (2, 3),
    )
    made = canonical(model)
    assert kinds(made) == ["GlobalAveragePool", "Flatten", "Gemm", "Mul", "Add"]


def test_weights_that_two_convolutions_share() -> None:
    model = model_of(
        [
            node("Conv", "x w b", "c1", pads=[1] * 4),
            norm_node("a", "c1", "n1"),
            node("Conv", "n1 w b", "c2", pads=[1] * 4),
            norm_node("a", "c2", "n2"),
            node("Add", "n1 n2", "y"),
        ],
        {"w": random_array(4, 4, 3, 3), "b": random_array(4), **batch_norm("a", 4)},
        IMAGE,
    )
    made = canonical(model)
    weights = [v for v in made.graph.initializers.values() if (v.name or "").endswith("_weight")]
    assert [v.name for v in weights] == ["conv1_weight", "conv2_weight"]


def test_a_constant_that_one_node_reads_twice() -> None:
    model = model_of(
        [node("Add", "k k", "s"), node("Mul", "x s", "m"), node("Add", "m k", "y")],
        {"k": random_array(1, 4, 1, 1)},
        IMAGE,
    )
    assert "Mul" in kinds(canonical(model))


def test_identities() -> None:
    model = model_of(
        [
            node("Identity", "w", "w2"),
            node("Identity", "w2", "w3"),
            node("Identity", "x", "x2"),
            node("Conv", "x2 w3", "c"),
            node("Identity", "c", "i"),
            node("Conv", "i w2", "c2"),
            node("Identity", "c2", "y"),
        ],
        {"w": random_array(4, 4, 1, 1)},
        IMAGE,
    )
    made = canonical(model)
    assert kinds(made) == ["Conv", "Conv"]
    assert sorted(made.graph.initializers) == ["conv1_weight", "conv2_weight"]


@pytest.mark.parametrize("last", [True, False])
def test_dropout(last: bool) -> None:
    nodes = [node("Dropout", "x ratio", "d mask"), node("Relu", "d", "r")]
    nodes.append(node("Dropout", "r", "y") if last else node("Relu", "r", "y"))
    made = canonical(model_of(nodes, {"ratio": np.array(0.5, np.float32)}, IMAGE))
    assert set(kinds(made)) == {"Relu"}
    assert not made.graph.initializers


def test_constants_become_initializers() -> None:
    tensor = numpy_helper.from_array(random_array(1, 4, 1, 1), "t")
    model = model_of(
        [
            node("Constant", "", "k", value=tensor),
            node("Mul", "x k", "m"),
            node("Constant", "", "low", value_float=-0.5),
            node("Constant", "", "high", value_float=0.5),
            node("Clip", "m low high", "c"),
            node("Constant", "", "shape", value_ints=[0, -1]),
            node("Reshape", "c shape", "y"),
        ],
        {},
        (2, 4 * 36),
    )
    made = canonical(model)
    assert kinds(made) == ["Mul", "Clip", "Reshape"]
    assert sorted(made.graph.initializers) == [
        "clip1_input1", "clip1_input2", "mul1_input1", "reshape1_input1",
    ]  # fmt: skip


def test_what_nothing_reads_is_gone() -> None:
    model = model_of(
        [node("Relu", "x", "y"), node("Conv", "x w", "unread")],
        {"w": random_array(4, 4, 1, 1), "spare": random_array(3)},
        IMAGE,
    )
    made = canonical(model)
    assert kinds(made) == ["Relu"]
    assert not made.graph.initializers


def test_names_of_every_kind_become_short_and_unique() -> None:
    model = model_of(
        [
            node("Conv", "x relu1", "conv2", name="relu1"),
            node("Relu", "conv2", "logits", name=""),
            node("Conv", "logits conv1_weight", "a/b:0", name="/features/0/conv_with_bn/Conv"),
            node("Relu", "a/b:0", "input", name="relu1/again"),
            node("Relu", "input", "y", name=""),
        ],
        {"relu1": random_array(4, 4, 1, 1), "conv1_weight": random_array(4, 4, 1, 1, seed=3)},
        IMAGE,
    )
    made = canonical(model)
    assert [item.name for item in made.graph] == ["conv1", "relu1", "conv2", "relu2", "relu3"]
    assert [item.doc_string for item in made.graph][2] == "/features/0/conv_with_bn/Conv"


def test_the_same_twice_is_the_same() -> None:
    model = model_of(
        [node("Conv", "x w", "c"), norm_node("a", "c", "n"), node("Relu", "n", "y")],
        {"w": random_array(4, 4, 1, 1), **batch_norm("a", 4)},
        IMAGE,
    )
    first, second = (loaded(model) for _ in range(2))
    canonicalize(first)
    canonicalize(second)
    texts = [ir.to_proto(m).SerializeToString(deterministic=True) for m in (first, second)]
    assert texts[0] == texts[1]
    canonicalize(second)
    assert [n.name for n in second.graph] == [n.name for n in first.graph]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["conv", "shared", "norm", "relu", "identity", "dropout", "skip", "constant"]
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_chain_keeps_its_function(steps: list[str]) -> None:
    nodes: list[onnx.NodeProto] = []
    constants: Arrays = {"shared": 0.5 * random_array(4, 4, 3, 3, seed=99)}
    value, earlier = "x", "x"
    for number, step in enumerate(steps):
        result = f"v{number}"
        if step in ("conv", "shared"):
            weight = "shared" if step == "shared" else f"w{number}"
            constants.setdefault(weight, 0.5 * random_array(4, 4, 3, 3, seed=number))
            nodes.append(node("Conv", f"{value} {weight}", result, pads=[1] * 4))
        elif step == "norm":
            constants |= batch_norm(f"n{number}", 4, 10 * number)
            nodes.append(norm_node(f"n{number}", value, result))
        elif step == "skip":
            nodes.append(node("Add", f"{value} {earlier}", result))
            earlier = value
        elif step == "constant":
            tensor = numpy_helper.from_array(random_array(1, 4, 1, 1, seed=number), "t")
            nodes.append(node("Constant", "", f"k{number}", value=tensor))
            nodes.append(node("Mul", f"{value} k{number}", result))
        else:
            nodes.append(node(step.capitalize(), value, result))
        value = result
    nodes.append(node("Relu", value, "y"))
    canonical(model_of(nodes, constants, IMAGE))


# What cannot have the form


def test_another_opset_is_refused() -> None:
    model = loaded(model_of([node("Relu", "x", "y")], {}, IMAGE, opset=18))
    with pytest.raises(StageError, match=r"needs opset 13 and no other domain, has \{'': 18\}"):
        canonicalize(model)


def test_another_domain_is_refused() -> None:
    proto = model_of([node("Relu", "x", "y")], {}, IMAGE)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(StageError, match=r"needs opset 13 and no other domain"):
        canonicalize(loaded(proto))


def test_an_identity_from_input_to_output_is_refused() -> None:
    with pytest.raises(StageError, match="Identity identity1 is left"):
        canonicalize(loaded(model_of([node("Identity", "x", "y")], {}, IMAGE)))


def test_a_batch_norm_without_constants_is_refused() -> None:
    # Its scale is computed from the image.
    constants = batch_norm("a", 4)
    del constants["a_gamma"]
    model = model_of(
        [
            node("ReduceMean", "x", "r", axes=[0, 2, 3], keepdims=0),
            node("Sigmoid", "r", "a_gamma"),
            norm_node("a", "x", "y"),
        ],
        constants,
        IMAGE,
    )
    with pytest.raises(StageError, match="BatchNormalization"):
        canonicalize(loaded(model))


def test_a_batch_norm_in_training_mode_is_refused() -> None:
    parts = node("BatchNormalization", "x g b m v", "y mean var saved_mean saved_var")
    names = {"gamma": "g", "beta": "b", "mean": "m", "var": "v"}
    constants = {names[key.split("_")[1]]: value for key, value in batch_norm("a", 4).items()}
    with pytest.raises(StageError, match="is in training mode"):
        canonicalize(loaded(model_of([parts], constants, IMAGE)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: setattr(m, "ir_version", 9), "needs IR version 8 or lower, has 9"),
        (lambda m: setattr(m.graph[0], "name", "relu_1"), "node names are not short and unique"),
        (lambda m: setattr(m.graph[0], "name", ""), "node names are not short and unique"),
        (lambda m: setattr(m.graph[0], "name", m.graph[1].name), "node names are not short"),
        (lambda m: m.opset_imports.update({"": 14}), "needs opset 13"),
    ],
)
def test_the_rules_are_asserted(change: Any, expected: str) -> None:
    model = loaded(model_of([node("Relu", "x", "a"), node("Relu", "a", "y")], {}, IMAGE))
    canonicalize(model)
    check_canonical(model)
    change(model)
    with pytest.raises(StageError, match=expected):
        check_canonical(model)


# Batch size


def test_the_batch_size_is_free_and_can_be_fixed() -> None:
    model = model_of(
        [
            node("Conv", "x w", "c"),
            node("GlobalAveragePool", "c", "p"),
            node("Flatten", "p", "f"),
            node("Gemm", "f v", "y"),
        ],
        {"w": random_array(5, 4, 1, 1), "v": random_array(5, 3)},
        (2, 3),
    )
    made = canonical(model)
    shapes = [made.graph.inputs[0].shape, *(n.outputs[0].shape for n in made.graph)]
    assert [str(shape[0]) for shape in shapes if shape] == ["batch"] * 5
    before = results(ir.to_proto(made), random_array(1, 4, 6, 6))
    fix_batch(made, 1)
    shapes = [made.graph.inputs[0].shape, *(n.outputs[0].shape for n in made.graph)]
    assert [list(shape) for shape in shapes if shape] == [
        [1, 4, 6, 6], [1, 5, 6, 6], [1, 5, 1, 1], [1, 5], [1, 3],
    ]  # fmt: skip
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    np.testing.assert_array_equal(results(proto, random_array(1, 4, 6, 6)), before)
    with pytest.raises(Exception, match="Got: 2 Expected: 1"):
        results(proto, random_array(2, 4, 6, 6))


def test_a_model_that_was_exported_with_a_fixed_batch_size_gets_a_free_one() -> None:
    proto = model_of([node("Relu", "x", "y")], {}, IMAGE)
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 2
    made = loaded(proto)
    canonicalize(made)
    assert results(ir.to_proto(made), random_array(7, 4, 6, 6)).shape == (7, 4, 6, 6)


# Gemm


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 2.0), (0.25, -3.0)])
def test_the_factors_of_a_gemm_are_in_its_weights(alpha: float, beta: float) -> None:
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(4, 3)), "b": random.normal(size=3)}
    model = model_of(
        [node("Flatten", "x", "f"), node("Gemm", "f w b", "y", "fc", alpha=alpha, beta=beta)],
        {name: array.astype(np.float32) for name, array in weights.items()},
        (2, 3),
        shape=(2, 4, 1, 1),
    )
    image = random.normal(size=(2, 4, 1, 1)).astype(np.float32)
    graph = loaded(model)
    canonicalize(graph)
    gemm = next(item for item in graph.graph if item.op_type == "Gemm")
    assert not {"alpha", "beta"} & set(gemm.attributes)
    made = results(ir.to_proto(graph), image)
    np.testing.assert_allclose(made, results(model, image), rtol=1e-5, atol=1e-6)


def test_a_gemm_that_cannot_be_a_layer() -> None:
    weights = {"w": np.zeros((2, 3), np.float32)}
    across = model_of(
        [node("Flatten", "x", "f"), node("Gemm", "f w", "y", "fc", transA=1)],
        weights, (4, 3), shape=(2, 4, 1, 1),
    )  # fmt: skip
    with pytest.raises(StageError, match="Gemm 'fc' reads its input transposed"):
        canonicalize(loaded(across))
    computed = model_of(
        [node("Flatten", "x", "f"), node("Gemm", "f w f", "y", "fc", beta=2.0)],
        {"w": np.zeros((4, 4), np.float32)}, (2, 4), shape=(2, 4, 1, 1),
    )  # fmt: skip
    with pytest.raises(StageError, match="which is computed, by 2"):
        canonicalize(loaded(computed))
