"""Bundles that are zips, and yet nothing the runtime could use."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.synap.bundle_read import MAX_JSON, read_bundle

META: dict[str, Any] = {
    "Inputs": {"i": {"shape": [1, 4]}},
    "Outputs": {"o": {"shape": [1, 4]}},
    "delegate": "onnx cpu=1 ",
}
GRAPH: dict[str, Any] = {
    "graph": [{"inputs": [{"subgraph": -1, "out": 0}], "model": "0/m.onnx", "meta": "0/m.json"}],
    "outputs": [{"subgraph": 0, "out": 0}],
}


def bundle(
    folder: Path, graph: Any = GRAPH, meta: Any = META, model: Any = b"model", **more: Any
) -> Path:
    """A zip with these contents; bytes are taken as they are, None leaves the entry out."""
    path = folder / "model.synap"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"bundle.json": graph, "0/m.onnx": model, "0/m.json": meta}.items():
            if content is not None:
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                archive.writestr(zipfile.ZipInfo(name), raw)
        for name, raw in more.items():
            archive.writestr(zipfile.ZipInfo(name), raw)
    return path


def refused(path: Path, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        read_bundle(path)
    assert str(caught.value).startswith(str(path))


def test_a_good_one(tmp_path: Path) -> None:
    read = read_bundle(bundle(tmp_path))
    assert read.delegates == ("cpu",)
    assert read.subgraphs[0].model == b"model"
    assert (read.inputs[0].shape, read.outputs[0].shape) == ((1, 4), (1, 4))


def test_an_entry_more_is_no_harm(tmp_path: Path) -> None:
    assert read_bundle(bundle(tmp_path, notes=b"hello")).delegates == ("cpu",)


def test_in_for_out_as_the_runtime_reads_it(tmp_path: Path) -> None:
    graph = json.loads(json.dumps(GRAPH).replace('"out": 0}], "model"', '"in": 0}], "model"'))
    assert "in" in graph["graph"][0]["inputs"][0]
    assert read_bundle(bundle(tmp_path, graph)).inputs[0].shape == (1, 4)


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.synap", "there is no such bundle")
    refused(tmp_path, "there is no such bundle")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "there is no such bundle")


@pytest.mark.parametrize(
    ("name", "missing"), [("graph", "bundle.json"), ("meta", "0/m.json"), ("model", "0/m.onnx")]
)
def test_an_entry_less(tmp_path: Path, name: str, missing: str) -> None:
    refused(bundle(tmp_path, **{name: None}), f"the entry '{missing}' is missing")


def test_an_empty_model(tmp_path: Path) -> None:
    refused(bundle(tmp_path, model=b""), "is empty")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not usable JSON"),
        (b"{", "not usable JSON"),
        (b"\xff\xfe{}", "not usable JSON"),
        (b"[" * 100_000, "nested too deeply|not usable JSON"),
        (b'{"a":' * 100_000, "nested too deeply|not usable JSON"),
        (b"[1]", "bundle.json"),
        (b"null", "bundle.json"),
        (b"{}", "graph: Field required"),
        (b'{"graph": [], "outputs": []}', "graph: Tuple should have at least 1 item"),
        (b'{"graph": [], "graph": [], "outputs": []}', "'graph' is there twice"),
        (b'{"graph": NaN}', "NaN is not a number of JSON"),
        (b'{"graph": ' + b"9" * 5000 + b"}", "not usable JSON"),
        (b" " * (MAX_JSON + 1), "too many for a JSON entry"),
    ],
)
def test_a_bundle_json_that_is_none(tmp_path: Path, text: bytes, said: str) -> None:
    refused(bundle(tmp_path, text), said)


def node(**change: object) -> dict[str, object]:
    return {**GRAPH, "graph": [{**GRAPH["graph"][0], **change}]}


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (node(model="0/other.onnx"), "the entry '0/other.onnx' is missing"),
        (node(meta="../../etc/passwd"), "is missing"),
        (node(meta="0/m.onnx"), "'0/m.onnx' is used twice"),
        (node(model="0/m.json"), "'0/m.json' is used twice"),
        (node(meta="bundle.json"), "'bundle.json' is used twice"),
        (node(model=7), "graph.0.model: Input should be a valid string"),
        (node(inputs=[]), "subgraph 0 has no inputs"),
        (node(inputs=[{"subgraph": 0, "out": 0}]), "a cycle"),
        (node(inputs=[{"subgraph": 3, "out": 0}]), "but there are 1"),
        (node(inputs=[{"subgraph": -2, "out": 0}]), "greater than or equal to -1"),
        (node(inputs=[{"subgraph": -1, "out": 2**40}]), "less than"),
        (node(inputs=[{"subgraph": -1}]), "Field required"),
        (node(inputs=[{"subgraph": "-1", "out": 0}]), "valid integer"),
        ({**GRAPH, "outputs": [{"subgraph": -1, "out": 0}]}, "is not an output of a subgraph"),
        ({**GRAPH, "outputs": [{"subgraph": 0, "out": 9}]}, "which has 1"),
        ({**GRAPH, "graph": GRAPH["graph"] * 500}, "is used twice"),
    ],
)
def test_a_graph_that_does_not_hold_together(tmp_path: Path, graph: object, said: str) -> None:
    refused(bundle(tmp_path, graph), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"delegate": "torq"}, "0/m.json: delegate: unknown delegate 'torq'"),
        ({"delegate": "bundle"}, "unknown delegate 'bundle'"),
        ({"Inputs": {}}, "Inputs"),
        ({"Inputs": [{"shape": [1]}]}, "Inputs"),
        ({"Outputs": {"o": {}}}, "Outputs.o.shape: Field required"),
        ({"Outputs": {"o": {"shape": [0]}}}, "Outputs.o.shape"),
        ({"Inputs": {"i": {"shape": [1], "dtype": "float23"}}}, "Inputs.i.dtype"),
        ({"Inputs": {"i": {"shape": [1], "mean": 127.5}}}, "Inputs.i.mean"),
        ({"secure": "no"}, "secure"),
        *(
            (
                {"Inputs": {"i": {"shape": [1], "quantize": {field: []}}}},
                rf"Inputs\.i\.quantize\.{field}.*at least 1 item",
            )
            for field in ("scale", "zero_point", "fl")
        ),
    ],
)
def test_a_meta_that_the_runtime_would_misread(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    refused(bundle(tmp_path, meta={**META, **change}), said)


def test_a_meta_that_is_not_json(tmp_path: Path) -> None:
    refused(bundle(tmp_path, meta=b"\x08\x07an onnx file"), "0/m.json: not usable JSON")


def test_all_faults_are_not_all_printed(tmp_path: Path) -> None:
    tensors = {f"t{n}": {"shape": [0]} for n in range(100)}
    with pytest.raises(StageError) as caught:
        read_bundle(bundle(tmp_path, meta={**META, "Inputs": tensors}))
    assert "and 97 more" in caught.value.what


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["graph", "outputs", "inputs", "subgraph", "out", "model", "meta", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_as_a_graph(tmp_path: Path, graph: object) -> None:
    with pytest.raises(StageError):
        read_bundle(bundle(tmp_path, json.dumps(graph).encode()))
