"""Models as others write them become canonical Graphs of the same function, or are refused in words.

Every model that is taken is proved as the import proves it: ONNX Runtime on the model as it came
against ONNX Runtime on the Graph, on several pictures and batch sizes.
"""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.errors import StageError
from pipeline.graph.canonical import check_canonical
from pipeline.graph.file import class_count, input_size, preprocess_in
from pipeline.graph.foreign import Came, bring_in
from pipeline.graph.precision import runnable
from pipeline.graph.proof import prove

Array = NDArray[Any]
VIEW = Preprocess(size=12)
FREE = ("n", 3, 12, 12)
ONE = (1, 3, 12, 12)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """A node named after what it does; `-` is an input that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    domain = attributes.pop("domain", "")
    name = f"my {op} {output.split()[0]}"
    return helper.make_node(op, names, output.split(), name=name, domain=domain, **attributes)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(0, 0.4, shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def model_of(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
    *,
    opset: int = 13,
    shape: tuple[Any, ...] = FREE,
    ir_version: int = 8,
    listed: bool = False,
    dtype: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("y",),
    result: int | None = None,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model from `x` to `outputs`; with `listed`, initializers are inputs as well (IR 3)."""
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    if listed:
        inputs += [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in constants.items()
        ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        inputs,
        [helper.make_tensor_value_info(name, result or dtype, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def brought(model: onnx.ModelProto, view: Preprocess = VIEW) -> tuple[ir.Model, Came]:
    """The canonical Graph, proved, and how the model came."""
    original = ir.from_proto(model)
    graph = original.clone()
    came = bring_in(graph, view, "foreign.onnx")
    original = runnable(original, came.precisions, "foreign.onnx")
    proof = prove(original, came, view, graph, 1, "foreign.onnx")
    assert proof["largest_logit"] > 1e-3, "nothing is proved about zeros"
    check_canonical(graph)
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    assert input_size(graph, "") == (view.size, view.size)
    class_count(graph, "")
    return graph, came


def refused(model: onnx.ModelProto, view: Preprocess = VIEW) -> str:
    with pytest.raises(StageError) as caught:
        bring_in(ir.from_proto(model), view, "foreign.onnx")
    assert caught.value.where
    return str(caught.value)


def kinds(graph: ir.Model) -> list[str]:
    return [item.op_type for item in graph.graph]


HEAD = {"w": normal(5, 3, 3, 3), "v": normal(7, 5)}
TAIL = [node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "f")]


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23])
def test_every_opset(opset: int) -> None:
    gemm = node("Gemm", "f v b", "y", transB=1)
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "c"), *TAIL, gemm]
    graph, came = brought(model_of(nodes, {**HEAD, "b": normal(7)}, opset=opset, ir_version=8))
    assert kinds(graph) == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert (came.opset, came.batch, came.stripped) == (opset, None, None)


@pytest.mark.parametrize("opset", [7, 9])
def test_a_model_of_2018(opset: int) -> None:
    """Attributes that became inputs, a fixed batch, initializers listed as inputs, Softmax."""
    norms = {name: np.abs(normal(5, seed=i)) + 0.5 for i, name in enumerate("smtu")}
    nodes = [
        node("Pad", "x", "x1", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.25),
        node("Conv", "x1 w", "a"),
        node("BatchNormalization", "a s m t u", "b", epsilon=1e-3),
        node("Clip", "b", "c0", min=0.0, max=1.5),
        node("Slice", "c0", "c1", axes=[2, 3], starts=[1, 1], ends=[11, 11]),
        node("Dropout", "c1", "c2 mask", ratio=0.4),
        node("Sum", "c2 c2 c2", "c"),
        node("MaxPool", "c", "d", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "d shape", "f"),
        node("Gemm", "f v bias", "z", transB=1),
        node("Unsqueeze", "z", "z1", axes=[2, 3]),
        node("Squeeze", "z1", "z2", axes=[2, 3]),
        node("Softmax", "z2", "y"),
    ]
    constants = {
        "w": HEAD["w"], "v": normal(7, 125), "bias": normal(7), "shape": ints(1, 125), **norms
    }  # fmt: skip
    model = model_of(nodes, constants, opset=opset, shape=ONE, ir_version=3, listed=True)
    graph, came = brought(model)
    assert (came.batch, came.stripped, came.output) == (1, "Softmax", "z2")
    assert {"Sum", "BatchNormalization", "Dropout", "Softmax"}.isdisjoint(kinds(graph))
    [shape] = [
        v.const_value
        for v in graph.graph.initializers.values()
        if (v.name or "").startswith("resh")
    ]
    assert shape is not None and shape.numpy().tolist() == [0, 125]


LATER = {
    "HardSwish": (14, [node("HardSwish", "a", "c")], {}),
    "Mish": (18, [node("Mish", "a", "c")], {}),
    "Gelu": (20, [node("Gelu", "a", "c")], {}),
    "Gelu by tanh": (20, [node("Gelu", "a", "c", approximate="tanh")], {}),
    "LayerNormalization": (
        17,
        [node("LayerNormalization", "a g h", "c", axis=-1, epsilon=1e-3)],
        {"g": normal(10), "h": normal(10, seed=2)},
    ),
    "LayerNormalization of two": (
        17,
        [node("LayerNormalization", "a g", "c", axis=2)],
        {"g": normal(10, 10)},
    ),
    "axes as input": (
        18,
        [node("ReduceMax", "a axes", "m", keepdims=1), node("Sub", "a m", "c")],
        {"axes": ints(1)},
    ),
    "some axes padded": (
        18,
        [node("Pad", "a pads - axes", "c")],
        {"pads": ints(1, 0, 2, 1), "axes": ints(-1, 2)},
    ),
    "halves": (18, [node("Split", "a", "h i", axis=2, num_outputs=2), node("Sub", "h i", "c")], {}),
    "part of a shape": (
        15,
        [
            node("Shape", "a", "s", start=2),
            node("Concat", "lead s", "t", axis=0),
            node("Reshape", "a t", "c"),
        ],
        {"lead": ints(0, 5)},
    ),
    "neutral words": (19, [node("AveragePool", "a", "c", kernel_shape=[2, 2], dilations=[1, 1])], {}),
    "allowzero without a zero": (
        14,
        [node("Reshape", "a t", "c", allowzero=1)],
        {"t": ints(-1, 5, 10, 10)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_what_came_after_opset_13(name: str) -> None:
    opset, between, constants = LATER[name]
    nodes = [node("Conv", "x w", "a"), *between, *TAIL, node("Gemm", "f v", "y", transB=1)]
    brought(model_of(nodes, {**HEAD, **constants}, opset=opset, ir_version=8))


def inside(between: list[onnx.NodeProto], constants: dict[str, Array], **options: Any) -> Any:
    nodes = [node("Conv", "x w", "a"), *between, *TAIL, node("Gemm", "f v", "y", transB=1)]
    return model_of(nodes, {**HEAD, **constants}, **options)


def test_what_opset_13_cannot_say_is_named() -> None:
    grid = inside([node("GridSample", "a g", "c")], {"g": normal(1, 4, 4, 2)}, opset=16)
    assert "cannot be brought to opset 13 from opset 16: GridSample 'my GridSample c'" in refused(
        grid
    )
    wide = inside([node("Softmax", "a", "c", axis=1)], {}, opset=11, shape=ONE)
    assert "Softmax 'my Softmax c': it runs over all dimensions" in refused(wide)
    zero = inside([node("Reshape", "a t", "c", allowzero=1)], {"t": ints(0, 5, 10, 10)}, opset=14)
    assert "Reshape 'my Reshape c': attribute allowzero = 1" in refused(zero)
    pixels = {name: normal(5, seed=i) + 2 for i, name in enumerate("stuq")}
    each = [node("BatchNormalization", "a s t u q", "c", spatial=0)]
    assert "my BatchNormalization c': it normalizes every pixel" in refused(
        inside(each, pixels, opset=8)
    )
    parts = [node("Split", "a", "h i", axis=1, num_outputs=2), node("Concat", "h i", "c", axis=1)]
    uneven = inside(parts, {}, opset=18)
    assert "it splits 5 values into 2 parts" in refused(uneven)


def test_what_is_not_onnx_is_named() -> None:
    simple = [node("Relu", "a", "c")]
    assert "has opset 6; those from 7 to" in refused(inside(simple, {}, opset=6))
    own = inside([node("FusedRelu", "a", "c", domain="com.acme")], {}, domains=("com.acme",))
    assert "FusedRelu 'my FusedRelu c' belongs to com.acme" in refused(own)
    branch = helper.make_graph(
        [node("Relu", "a", "r")], "b", [], [helper.make_empty_tensor_value_info("r")]
    )
    choice = inside(
        [node("If", "t", "c", then_branch=branch, else_branch=branch)], {"t": np.array(True)}
    )
    assert "If 'my If c' decides while the model runs" in refused(choice)


def test_an_unused_domain_and_functions_of_the_models_own() -> None:
    function = helper.make_function(
        "mine", "Twice", ["i"], ["o"], [helper.make_node("Add", ["i", "i"], ["o"])],
        [helper.make_opsetid("", 13)],
    )  # fmt: skip
    twice = [node("Twice", "a", "c", domain="mine")]
    model = inside(twice, {}, domains=("mine", "ai.onnx.ml"))
    model.functions.append(function)
    graph, _ = brought(model)
    assert "Add" in kinds(graph)


def test_a_batch_that_the_model_asks_for() -> None:
    """As PyTorch writes `x.view(x.size(0), -1)`."""
    nodes = [
        node("Conv", "x w", "c"),
        node("Shape", "c", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 rest", "t", axis=0),
        node("Reshape", "c t", "f"),
        node("Gemm", "f v", "y", transB=1),
    ]
    constants = {
        "w": HEAD["w"], "v": normal(7, 500), "zero": np.array(0, np.int64), "axis": ints(0),
        "rest": ints(-1),
    }  # fmt: skip
    for shape in (FREE, ONE, (4, *ONE[1:])):
        graph, came = brought(model_of(nodes, constants, shape=shape))
        assert kinds(graph) == ["Conv", "Reshape", "Gemm"]
        assert came.batch == (None if shape == FREE else shape[0])


def test_free_height_and_width_are_the_recipes() -> None:
    nodes = [node("Conv", "x w", "c"), *TAIL, node("Gemm", "f v", "y", transB=1)]
    graph, _ = brought(model_of(nodes, HEAD, shape=("n", 3, "h", "w")), Preprocess(size=20))
    assert input_size(graph, "") == (20, 20)
    assert "its input is 12x12, but data.preprocess gives 20x20" in refused(
        model_of(nodes, HEAD), Preprocess(size=20)
    )


def test_inputs_that_are_no_image() -> None:
    nodes = [node("Conv", "x w", "c"), *TAIL, node("Gemm", "f v", "y", transB=1)]
    gray = model_of([node("Conv", "x u", "c"), *nodes[1:]], {**HEAD, "u": normal(5, 1, 3, 3)},
                    shape=("n", 1, 12, 12))  # fmt: skip
    assert "an image of 3 channels is needed" in refused(gray)
    assert "a model of grey ones needs a 1x1 convolution in front of it" in refused(gray)
    flat = model_of([node("Gemm", "x u", "y")], {"u": normal(3, 4)}, shape=("n", 3))
    assert "an image [N, 3, H, W] is needed" in refused(flat)
    cast = [node("Cast", "x", "x1", to=1), node("Conv", "x1 w", "c"), *nodes[1:]]
    bytes_in = model_of(cast, HEAD, dtype=TensorProto.UINT8, result=TensorProto.FLOAT)
    message = refused(bytes_in)
    assert "its input 'x' is uint8, not float32" in message and "data.preprocess" in message


def test_channels_last() -> None:
    nodes = [node("Transpose", "x", "x1", perm=[0, 3, 1, 2]), node("Conv", "x1 w", "c"), *TAIL,
             node("Gemm", "f v", "y", transB=1)]  # fmt: skip
    graph, came = brought(model_of(nodes, HEAD, shape=("n", 12, 12, 3)))
    assert came.channels_last and kinds(graph)[0] == "Conv"
    nodes[0] = node("Transpose", "r", "x1", perm=[0, 3, 1, 2])
    read = model_of([node("Relu", "x", "r"), *nodes], HEAD, shape=("n", 12, 12, 3))
    assert "channels last, and is read so by Relu" in refused(read)


def test_channels_last_behind_a_normalization() -> None:
    """Keras' Rescaling and Normalization in front of a convolution, as tf2onnx writes them."""
    mean, scale = normal(1, 1, 1, 3), np.array([2, 3, 4], np.float32)
    nodes = [
        node("Mul", "x byte", "a"), node("Sub", "a mean", "b"), node("Mul", "scale b", "c0"),
        node("Transpose", "c0", "x1", perm=[0, 3, 1, 2]), node("Conv", "x1 w", "c"), *TAIL,
        node("Gemm", "f v", "y", transB=1),
    ]  # fmt: skip
    constants = {**HEAD, "byte": np.float32(1 / 255), "mean": mean**2, "scale": scale}
    proto = model_of(nodes, constants, shape=("n", 12, 12, 3))
    graph, came = brought(proto)
    assert came.channels_last and "Transpose" not in kinds(graph)
    odd = model_of(nodes, {**constants, "mean": normal(12, 1)}, shape=("n", 12, 12, 3))
    assert "channels last, and is read so by Sub" in refused(odd)


def test_its_own_normalization_goes_to_the_preprocessing() -> None:
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.2, 0.25, 0.3], np.float32)
    nodes = [node("Sub", "x m", "x1"), node("Div", "x1 s", "x2"), node("Conv", "x2 w", "c"), *TAIL,
             node("Gemm", "f v", "y", transB=1)]  # fmt: skip
    own = {"m": mean.reshape(1, 3, 1, 1), "s": std.reshape(3, 1, 1)}
    view = Preprocess(size=12, mean=(0, 0, 0), std=(1, 1, 1))
    graph, _ = brought(model_of(nodes, {**HEAD, **own}), view)
    assert kinds(graph)[0] == "Conv"
    found = preprocess_in(graph, "").normalization
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.std, std, rtol=1e-6)
    # Of bytes, by a Mul and an Add.
    nodes[:2] = [node("Mul", "x s", "x1"), node("Add", "m x1", "x2")]
    own = {"s": np.array(1 / 127.5, np.float32), "m": np.array([-1.0], np.float32)}
    view = Preprocess(size=12, mean=(0, 0, 0), std=(1 / 255,) * 3)
    graph, _ = brought(model_of(nodes, {**HEAD, **own}), view)
    assert kinds(graph)[0] == "Conv"
    found = preprocess_in(graph, "").normalization
    np.testing.assert_allclose([found.mean, found.std], 0.5, rtol=1e-6)


def test_a_normalization_that_no_recipe_could_say_stays() -> None:
    nodes = [node("Sub", "x m", "x1"), node("Conv", "x1 w", "c"), *TAIL,
             node("Gemm", "f v", "y", transB=1)]  # fmt: skip
    graph, _ = brought(model_of(nodes, {**HEAD, "m": np.array(3.0, np.float32)}))
    assert kinds(graph)[0] == "Sub"
    assert preprocess_in(graph, "").normalization == Normalization(mean=VIEW.mean, std=VIEW.std)


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_half_precision(opset: int) -> None:
    nodes = [node("Conv", "x w", "c"), *TAIL, node("Gemm", "f v", "y", transB=1)]
    halves = {name: array.astype(np.float16) for name, array in HEAD.items()}
    if opset < 11:
        halves["b"] = normal(7).astype(np.float16)
        nodes[-1] = node("Gemm", "f v b", "y", transB=1)
    graph, came = brought(model_of(nodes, halves, opset=opset, dtype=TensorProto.FLOAT16))
    assert came.is_half and came.precisions == ("FLOAT16",)
    assert {v.dtype for v in graph.graph.initializers.values()} == {ir.DataType.FLOAT}


def test_half_precision_inside_of_single() -> None:
    nodes = [
        node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Conv", "h w", "c1"),
        node("Cast", "c1", "c", to=TensorProto.FLOAT), *TAIL, node("Gemm", "f v", "y", transB=1),
    ]  # fmt: skip
    graph, came = brought(model_of(nodes, {**HEAD, "w": HEAD["w"].astype(np.float16)}))
    assert came.is_half and "Cast" not in kinds(graph)


def test_constants_as_nodes() -> None:
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
        for name, array in {**HEAD, "fill": ints(5)}.items()
    ]
    nodes = [
        *constants,
        helper.make_node(
            "ConstantOfShape", ["fill"], ["b"],
            value=numpy_helper.from_array(np.array([0.5], np.float32)),
        ),
        node("Transpose", "v", "vt", perm=[1, 0]),
        node("Conv", "x w b", "c"), *TAIL, node("Gemm", "f vt", "y"),
    ]  # fmt: skip
    graph, _ = brought(model_of(nodes, {}))
    assert kinds(graph) == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]


def test_a_small_file_does_not_ask_for_much() -> None:
    huge = [node("ConstantOfShape", "fill", "b"), node("Add", "a b", "c")]
    message = refused(inside(huge, {"fill": ints(1 << 20, 1 << 20)}))
    assert "my ConstantOfShape b' makes constants of more than 1 GiB" in message


def test_caffes_scales_go_into_the_convolution() -> None:
    def column(seed: int, low: float = 0.5) -> Array:
        return np.random.default_rng(seed).uniform(low, 1.5, (5, 1, 1)).astype(np.float32)

    norms = {name: np.abs(normal(5, seed=i)) + 0.5 for i, name in enumerate("smtu")}
    after = [
        node("BatchNormalization", "a s m t u", "b1"), node("Mul", "b1 g", "b2"),
        node("Add", "h b2", "c"),
    ]  # fmt: skip
    graph, _ = brought(inside(after, {**norms, "g": column(1), "h": column(2)}))
    assert kinds(graph) == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    # Where no convolution is before, one Mul and one Add are left.
    before = [node("MaxPool", "a", "a1", kernel_shape=[2, 2])]
    after[0] = node("BatchNormalization", "a1 s m t u", "b1")
    graph, _ = brought(inside(before + after, {**norms, "g": column(1), "h": column(2)}))
    assert kinds(graph)[:4] == ["Conv", "MaxPool", "Mul", "Add"] and len(kinds(graph)) == 7
    # What something else reads too stays as it is.
    both = [node("Mul", "a g", "b"), node("Add", "a b", "c")]
    graph, _ = brought(inside(both, {"g": column(1)}))
    assert kinds(graph)[:3] == ["Conv", "Mul", "Add"]


def test_several_results_or_none() -> None:
    nodes = [node("Conv", "x w", "c"), *TAIL, node("Gemm", "f v", "y", transB=1)]
    message = refused(model_of(nodes, HEAD, outputs=("y", "f")))
    assert "the outputs ['y', 'f']" in message and "extract_model" in message
    best = [*nodes[:-1], node("Gemm", "f v", "z", transB=1), node("ArgMax", "z", "y", axis=1)]
    assert "logits of real numbers are needed" in refused(
        model_of(best, HEAD, result=TensorProto.INT64)
    )
    assert "a row of logits for every image is needed" in refused(
        model_of([node("Conv", "x w", "y")], HEAD)
    )


@pytest.mark.parametrize("opset", [9, 13])
def test_a_fully_convolutional_classifier(opset: int) -> None:
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "p"),
             node("Softmax", "p", "y", axis=1)]  # fmt: skip
    graph, came = brought(model_of(nodes, HEAD, opset=opset))
    assert kinds(graph) == ["Conv", "GlobalAveragePool", "Flatten"]
    assert (came.stripped, class_count(graph, "")) == ("Softmax", 5)


LOGITS = [node("Conv", "x w", "c"), *TAIL, node("Gemm", "f v", "z", transB=1)]
ENDS = {
    "flattened": ([node("Softmax", "z", "o", axis=1), node("Flatten", "o", "y")], {}),
    "reshaped": ([node("Softmax", "z", "o"), node("Reshape", "o t", "y")], {"t": ints(-1, 7)}),
    "reshaped by its own size": (
        [
            node("Softmax", "z", "o"), node("Shape", "o", "s"), node("Gather", "s zero", "n", axis=0),
            node("Unsqueeze", "n zeros", "n1"), node("Concat", "n1 rest", "t", axis=0),
            node("Reshape", "o t", "y"),
        ],
        {"zero": np.array(0, np.int64), "zeros": ints(0), "rest": ints(7)},
    ),
    "squeezed": (
        [
            node("Unsqueeze", "z axes", "z1"), node("Softmax", "z1", "o", axis=1),
            node("Squeeze", "o axes", "q"), node("Identity", "q", "y"),
        ],
        {"axes": ints(2, 3)},
    ),
    "channels last": (
        [node("Unsqueeze", "z axes", "z1"), node("Softmax", "z1", "o", axis=3), node("Flatten", "o", "y")],
        {"axes": ints(1, 2)},
    ),
    "sigmoid": ([node("Sigmoid", "z", "y")], {}),
    "without a batch": ([node("Softmax", "z", "o"), node("Squeeze", "o axes", "y")], {"axes": ints(0)}),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_what_only_reshapes_scores_goes_with_them(name: str) -> None:
    after, constants = ENDS[name]
    shape = ONE if name == "without a batch" else FREE
    graph, came = brought(model_of([*LOGITS, *after], {**HEAD, **constants}, shape=shape))
    assert came.stripped in ("Softmax", "Sigmoid") and came.kept is None
    assert {"Softmax", "Sigmoid"}.isdisjoint(kinds(graph)) and class_count(graph, "") == 7


def test_scores_of_another_precision_go() -> None:
    ends = [node("Softmax", "z", "o"), node("Cast", "o", "y", to=TensorProto.DOUBLE)]
    graph, came = brought(model_of([*LOGITS, *ends], HEAD, result=TensorProto.DOUBLE))
    assert came.stripped == "Softmax" and kinds(graph)[-1] == "Gemm"


STAYS = {
    "over the images": ([node("Softmax", "z", "y", axis=0)], {}, "Softmax 'my Softmax y'"),
    "something is computed from it": (
        [node("Softmax", "z", "o"), node("Mul", "o t", "q"), node("Flatten", "q", "y")],
        {"t": np.array(100, np.float32)},
        "Softmax 'my Softmax o' (before Mul 'my Mul q')",
    ),
    "only a row afterwards": (
        [node("Sigmoid", "c", "o"), node("Flatten", "o", "y")],
        {},
        "Sigmoid 'my Sigmoid o' (before Flatten 'my Flatten y')",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STAYS)
def test_scores_that_have_to_stay_are_named(name: str) -> None:
    after, constants, said = STAYS[name]
    graph = ir.from_proto(model_of([*LOGITS, *after], {**HEAD, **constants}, shape=ONE))
    came = bring_in(graph, VIEW, "")
    assert (came.stripped, came.kept) == (None, said) and said.split()[0] in kinds(graph)


def test_an_end_that_chooses() -> None:
    best = node("TopK", "z k", "y i", axis=1)
    message = refused(model_of([*LOGITS, best], {**HEAD, "k": ints(3)}))
    assert "TopK 'my TopK y'" in message and "without the choice" in message
    counted = [node("Softmax", "z", "o"), node("Cast", "o", "y", to=TensorProto.INT64)]
    message = refused(model_of([*LOGITS, *counted], HEAD, result=TensorProto.INT64))
    assert "its output 'y' is INT64" in message
    turned = [node("Softmax", "z", "o"), node("Reshape", "o t", "y")]
    message = refused(model_of([*LOGITS, *turned], {**HEAD, "t": ints(7, -1)}))
    assert "a row of logits for every image is needed" in message


TRAINED = {
    "batch norm": (
        15,
        node("BatchNormalization", "a s m t u", "c r1 r2", training_mode=1),
        "BatchNormalization 'my BatchNormalization c' normalizes by the images at hand",
    ),
    "batch norm of opset 13": (
        13,
        node("BatchNormalization", "a s m t u", "c r1 r2 r3 r4"),
        "normalizes by the images at hand",
    ),
    "dropout": (13, node("Dropout", "a ratio yes", "c"), "Dropout 'my Dropout c' leaves values out"),
    "noise": (13, node("RandomNormalLike", "a", "c"), "draws random numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_the_form_in_which_a_model_is_trained(name: str) -> None:
    opset, trained, said = TRAINED[name]
    constants = {
        **{key: np.abs(normal(5, seed=i)) + 0.5 for i, key in enumerate("smtu")},
        "ratio": np.array(0.5, np.float32), "yes": np.array(True),
    }  # fmt: skip
    message = refused(inside([trained], constants, opset=opset))
    assert "is in the form in which it is trained" in message and said in message
    assert "model.eval()" in message


def test_a_batch_norm_whose_further_results_are_left_out() -> None:
    norm = helper.make_node("BatchNormalization", [*"astmu"], ["c", "", "", "", ""])
    constants = {key: np.abs(normal(5, seed=i)) + 0.5 for i, key in enumerate("stmu")}
    graph, _ = brought(inside([norm], constants))
    assert "BatchNormalization" not in kinds(graph)


def test_dropout_whose_mask_is_used() -> None:
    after = [node("Dropout", "a", "d mask"), node("Where", "mask d a", "c")]
    assert "gives the mask of what it leaves out" in refused(inside(after, {}))
    idle = [node("Dropout", "a ratio no", "c mask")]
    constants = {"ratio": np.array(0.5, np.float32), "no": np.array(False)}
    graph, _ = brought(inside(idle, constants))
    assert "Dropout" not in kinds(graph)


def test_double_precision() -> None:
    doubles = {name: array.astype(np.float64) for name, array in HEAD.items()}
    graph, came = brought(model_of([*LOGITS[:-1], node("Gemm", "f v", "z", transB=1),
                                    node("Softmax", "z", "y")], doubles, dtype=TensorProto.DOUBLE))  # fmt: skip
    assert came.precisions == ("DOUBLE",) and not came.is_half
    assert {v.dtype for v in graph.graph.initializers.values()} == {ir.DataType.FLOAT}
    assert graph.graph.inputs[0].dtype == ir.DataType.FLOAT
    # Logits that a Cast ends in double precision, which is dropped in the Graph.
    cast = [*LOGITS, node("Cast", "z", "d", to=TensorProto.DOUBLE), node("Softmax", "d", "y")]
    graph, came = brought(model_of(cast, HEAD, result=TensorProto.DOUBLE))
    assert came.output == "d" and kinds(graph)[-1] == "Gemm"


def test_pads_that_are_computed() -> None:
    """As PyTorch's older exporter writes every padding."""
    after = [
        node("Concat", "some zeros", "early", axis=0), node("Reshape", "early two", "pairs"),
        node("Slice", "pairs last first axis step", "turned"),
        node("Transpose", "turned", "t", perm=[1, 0]), node("Reshape", "t flat", "u"),
        node("Cast", "u", "pads", to=TensorProto.INT64), node("Pad", "a pads", "c"),
    ]  # fmt: skip
    constants = {
        "some": ints(1, 2, 1, 0), "zeros": ints(0, 0, 0, 0), "two": ints(-1, 2), "flat": ints(-1),
        "last": ints(-1), "first": ints(-(2**31)), "axis": ints(0), "step": ints(-1),
    }  # fmt: skip
    graph, _ = brought(inside(after, constants, opset=17))
    assert "Pad" in kinds(graph) and "Slice" not in kinds(graph)


def test_the_proof_finds_a_change() -> None:
    nodes = [node("Conv", "x w", "c"), *TAIL, node("Gemm", "f v", "y", transB=1)]
    original = ir.from_proto(model_of(nodes, HEAD))
    graph = original.clone()
    came = bring_in(graph, VIEW, "m.onnx")
    weight = graph.graph.initializers["gemm1_weight"]
    changed = np.array(weight.const_value.numpy())  # type: ignore[union-attr]
    changed[3, 2] += 0.05
    weight.const_value = ir.tensor(changed, name=weight.name)
    with pytest.raises(StageError, match=r"m.onnx: the Graph is not the same function"):
        prove(original, came, VIEW, graph, 1, "m.onnx")


def test_what_does_not_fit_together() -> None:
    wrong = [node("Conv", "x v", "c"), *TAIL, node("Gemm", "f v", "y", transB=1)]
    message = refused(model_of(wrong, HEAD))
    assert "its operators do not fit together: Conv 'my Conv c': " in message
    wrong[1:1] = [node("Relu", "c", "d"), node("MatMul", "d w", "e")]
    wrong[0] = node("Conv", "x w", "c")
    for item in wrong:
        item.ClearField("name")  # it is then called after what it gives
    message = refused(model_of([*wrong[:3], node("Flatten", "e", "y")], HEAD))
    assert "its operators do not fit together: MatMul 'e': Incompatible" in message
    kind = inside([node("Cast", "a", "c", to=99)], {})
    assert "99 is not a valid DataType" in refused(kind)
    old = inside([node("Clip", "a", "c", min=0.0)], {})
    assert "is not as its opset 13 says: Clip 'my Clip c': attribute min" in refused(old)


@pytest.mark.parametrize("word", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_a_node_computes_is_written_out(word: str) -> None:
    """With a kernel that is larger than the map, and strides that need uneven padding."""
    nodes = [
        node("Conv", "x w", "a", auto_pad=word, strides=[2, 2]),
        node("Relu", "a", "b"),
        node("MaxPool", "b", "d", auto_pad=word, kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "d", "e", auto_pad=word, kernel_shape=[2, 2], count_include_pad=1),
        node("Conv", "e u", "c", auto_pad="SAME_UPPER", group=5),
        *TAIL,
        node("Gemm", "f v", "y", transB=1),
    ]
    graph, _ = brought(model_of(nodes, {**HEAD, "u": normal(5, 1, 5, 5)}))
    for item in graph.graph:
        assert "auto_pad" not in item.attributes
    first, last = [list(n.attributes.get_ints("pads")) for n in graph.graph if n.op_type == "Conv"]
    same = {"SAME_UPPER": [0, 0, 1, 1], "SAME_LOWER": [1, 1, 0, 0], "VALID": [0, 0, 0, 0]}
    assert (first, last) == (same[word], [2, 2, 2, 2])


def test_padding_by_an_unknown_size_names_the_node() -> None:
    from pipeline.graph.auto_pad import write_out_pads

    conv = node("Conv", "x w", "y", auto_pad="SAME_UPPER")
    model = ir.from_proto(model_of([conv], HEAD, shape=("n", 3, "h", "w")))
    with pytest.raises(StageError, match="Conv 'my Conv y' has auto_pad, and the size of its inp"):
        write_out_pads(model.graph)
