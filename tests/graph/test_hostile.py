"""What a damaged or hostile ONNX file holds ends in words, and takes no memory worth speaking of."""

import itertools
import resource
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.foreign import bring_in
from pipeline.graph.memory import bounded_memory
from pipeline.graph.proof import prove

VIEW = Preprocess(size=8)
WEIGHT = np.random.default_rng(0).normal(0, 0.4, (5, 3, 3, 3)).astype(np.float32)
TAIL = [
    helper.make_node("GlobalAveragePool", ["c"], ["p"]),
    helper.make_node("Flatten", ["p"], ["y"]),
]
CONV = helper.make_node("Conv", ["x", "w"], ["c"], name="conv")


def model_of(
    *nodes: onnx.NodeProto,
    constants: dict[str, NDArray[Any]] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
    batch: int | str = "n",
    opset: int = 13,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(array, name)
            for name, array in {"w": WEIGHT, **(constants or {})}.items()
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    if functions:
        opsets.append(helper.make_opsetid("own", 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions or [])


def imported(model: onnx.ModelProto) -> ir.Model:
    original = ir.from_proto(model)
    graph = original.clone()
    came = bring_in(graph, VIEW, "m.onnx")
    prove(original, came, VIEW, graph, 1, "m.onnx")
    return graph


def refused(model: onnx.ModelProto) -> str:
    with pytest.raises(StageError) as caught:
        imported(model)
    assert caught.value.where == "m.onnx"
    return str(caught.value)


def with_constant(*nodes: onnx.NodeProto, **constants: NDArray[Any]) -> onnx.ModelProto:
    """A model in which the mean of the constant `k` is added to the image."""
    mean = helper.make_node("ReduceMean", ["k"], ["mean"], keepdims=0)
    add = helper.make_node("Add", ["x", "mean"], ["a"])
    conv = helper.make_node("Conv", ["a", "w"], ["c"])
    return model_of(*nodes, mean, add, conv, *TAIL, constants=constants)


def doubled() -> list[onnx.NodeProto]:
    names = [f"k{step}" for step in range(24)] + ["k"]
    return [
        helper.make_node("Concat", [before, before], [after], axis=0)
        for before, after in itertools.pairwise(names)
    ]


BOMBS: dict[str, Callable[[], onnx.ModelProto]] = {
    "joined with itself": lambda: with_constant(*doubled(), k0=np.ones((64, 1), np.float32)),
    "row and column": lambda: with_constant(
        helper.make_node("Add", ["r", "s"], ["k"]),
        r=np.ones((60_000, 1), np.float32),
        s=np.ones((1, 60_000), np.float32),
    ),
    "one row often": lambda: with_constant(
        helper.make_node("Gather", ["r", "s"], ["k"]),
        r=np.ones((2, 20_000), np.float32),
        s=np.zeros(60_000, np.int64),
    ),
    "expanded": lambda: with_constant(
        helper.make_node("Expand", ["r", "s"], ["k"]),
        r=np.ones((60_000, 1), np.float32),
        s=np.array([1, 60_000]),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_constants_do_not_explode(name: str) -> None:
    assert "makes constants of more than 1 GiB" in refused(BOMBS[name]())


def test_lists_of_sizes_do_not_explode() -> None:
    """ONNX computes them while it infers shapes, before anything of ours sees them."""
    names = ["k0", *(f"k{step}" for step in range(1, 40)), "k"]
    chain = [
        helper.make_node("Concat", [before, before], [after], name=f"to {after}", axis=0)
        for before, after in itertools.pairwise(names)
    ]
    shaped = helper.make_node("Reshape", ["x", "k"], ["c"])
    for first in ([], [helper.make_node("Shape", ["x"], ["k0"])]):
        constants = {} if first else {"k0": np.ones(64, np.int64)}
        message = refused(model_of(*first, *chain, shaped, *TAIL, constants=constants))
        assert "integers; up to 1048576 are computed with" in message and "Concat 'to k" in message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_a_tensor_whose_size_is_computed_meets_the_limit(tmp_path: Path) -> None:
    """In a process of its own, which would else take 15 GB. No rule looks for such a thing."""
    filled = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ReduceProd", ["s"], ["o"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["o", "many"], ["q"]),
        helper.make_node("ConstantOfShape", ["q"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["none"], keepdims=0),
        helper.make_node("Add", ["x", "none"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["c"]),
    ]
    model = model_of(*filled, *TAIL, constants={"many": np.array([10_000_000], np.int64)}, batch=1)
    onnx.save(model, str(tmp_path / "m.onnx"))
    program = (
        "import sys; from pathlib import Path; from pipeline.errors import StageError\n"
        "from pipeline.init.look import look\n"
        "try: look(sys.argv[1], None, None)\n"
        "except StageError as error: print(error)\n"
        # getrusage would count what the test's own process had when it was forked.
        "peak = Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]\n"
        "print(int(peak) >> 10)\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "m.onnx")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    *said, peak = done.stdout.splitlines()
    assert "Failed to allocate memory" in said[0] and int(peak) < 1500
    assert "onnxruntime" not in done.stderr, "what it says itself stands in the message already"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_the_limit_is_for_the_body_alone(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    onnx.save(model_of(CONV, *TAIL), str(file))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = r"m\.onnx: takes more than 0\.125 GiB of memory"
    with pytest.raises(StageError, match=wanted), bounded_memory(file, 1 << 27):
        np.zeros(1 << 28, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with bounded_memory(file):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] > 4 << 30
        np.zeros(1 << 28, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_two_threads_leave_no_limit_behind(tmp_path: Path) -> None:
    """Though the first is done before the second."""
    file = tmp_path / "m.onnx"
    onnx.save(model_of(CONV, *TAIL), str(file))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    inside = threading.Event()
    seen: list[tuple[int, int]] = []

    def first() -> None:
        with bounded_memory(file):
            inside.set()
            second.join(0.2)  # it has to wait

    def other() -> None:
        inside.wait()
        with bounded_memory(file):
            one.join()
            seen.append(resource.getrlimit(resource.RLIMIT_DATA))

    one, second = threading.Thread(target=first), threading.Thread(target=other)
    second.start()
    one.start()
    second.join()
    assert seen != [before] and resource.getrlimit(resource.RLIMIT_DATA) == before


def test_what_was_folded_is_let_go() -> None:
    """200 constants of 8 MB each, one after the other."""
    names = [f"k{step}" for step in range(200)] + ["k"]
    chain = [
        helper.make_node("Transpose", [before], [after], perm=[1, 0])
        for before, after in itertools.pairwise(names)
    ]
    model = ir.from_proto(with_constant(*chain, k0=np.ones((2000, 1000), np.float32)))
    tracemalloc.start()
    bring_in(model, VIEW, "m.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000


def call(number: int, reads: str, gives: str) -> onnx.NodeProto:
    return helper.make_node(f"F{number}", [reads], [gives], domain="own")


def function(number: int, *body: onnx.NodeProto) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    return helper.make_function("own", f"F{number}", ["x"], ["c"], list(body), opsets)


def test_functions_that_double() -> None:
    functions = [function(0, helper.make_node("Relu", ["x"], ["c"]))]
    functions += [function(n, call(n - 1, "x", "t"), call(n - 1, "t", "c")) for n in range(1, 40)]
    conv = helper.make_node("Conv", ["a", "w"], ["c"])
    few = model_of(call(3, "x", "a"), conv, *TAIL, functions=functions[:4])
    assert [node.op_type for node in imported(few).graph].count("Relu") == 8
    message = refused(model_of(call(39, "x", "a"), conv, *TAIL, functions=functions))
    assert "has more than 100000 nodes once its functions are written out" in message


def test_functions_that_call_themselves() -> None:
    circle = [function(0, call(1, "x", "c")), function(1, call(0, "x", "c"))]
    assert "its function 'F0' calls itself" in refused(
        model_of(call(0, "x", "c"), *TAIL, functions=circle)
    )


@pytest.mark.parametrize("batch", [0, 1 << 24])
def test_a_batch_that_nobody_runs(batch: int) -> None:
    message = refused(model_of(CONV, *TAIL, batch=batch))
    assert f"it takes {batch} images at a time; up to 256 are run here" in message


def test_a_batch_that_cannot_be_freed() -> None:
    joined = helper.make_node("Concat", ["p", "token"], ["q"], axis=2)
    mean = helper.make_node("ReduceMean", ["q"], ["y"], axes=[2, 3], keepdims=0)
    token = {"token": np.ones((1, 5, 1, 1), np.float32)}
    message = refused(model_of(CONV, TAIL[0], joined, mean, constants=token, batch=1))
    assert "made for 1 images at a time, and others cannot be given" in message
    assert "Concat" in message and "free batch size" in message


def test_what_runs_into_an_error() -> None:
    twisted = helper.make_node("Transpose", ["x"], ["t"])
    conv = helper.make_node("Conv", ["t", "w"], ["c"], name="conv")
    assert "ONNX Runtime cannot run it" in refused(model_of(twisted, conv, *TAIL))
    none = helper.make_node("Split", ["x"], ["s"], name="cut", axis=1, num_outputs=0)
    conv = helper.make_node("Conv", ["s", "w"], ["c"])
    assert "Split 'cut': it splits 3 values into 0 parts" in refused(
        model_of(none, conv, *TAIL, opset=18)
    )


def test_a_batch_norm_behind_a_bias_that_is_computed() -> None:
    norms = {name: np.full(5, 0.5 + i, np.float32) for i, name in enumerate("gbmv")}
    model = model_of(
        helper.make_node("ReduceMean", ["w"], ["bias"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Conv", ["x", "w", "bias"], ["d"]),
        helper.make_node("BatchNormalization", ["d", *"gbmv"], ["c"]),
        *TAIL,
        constants=norms,
    )
    assert [n.op_type for n in imported(model).graph][:4] == ["ReduceMean", "Conv", "Mul", "Add"]


def test_logits_that_are_none() -> None:
    constant = helper.make_node("Relu", ["k"], ["y"])
    unmoved = model_of(constant, constants={"k": np.ones((1, 5), np.float32)})
    assert "its output does not depend on its input" in refused(unmoved)
    holes = model_of(CONV, *TAIL, constants={"w": np.full_like(WEIGHT, np.nan)})
    assert "gives logits that are not finite, as it came" in refused(holes)
    short = model_of(CONV, *TAIL)
    short.graph.initializer[0].raw_data = b"1234"
    assert "ONNX Runtime refuses the model" in refused(short)
