"""A real float file: the vendor's MobileNet V2 with its integers written out as the real numbers that
they stand for, which no converter is needed for."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.check.metrics import agreement
from pipeline.data.datasets import open_dataset
from pipeline.data.preprocess import Preprocess
from pipeline.graph.file import save_graph
from pipeline.graph.foreign import bring_in
from pipeline.lift.lifting import TENSOR
from pipeline.lift.operators import lift_tflite
from pipeline.lift.proof import prove_same
from pipeline.runners import open_runner

pytestmark = pytest.mark.slow
VIEW = Preprocess(size=224)


@pytest.fixture(scope="module")
def sample_data() -> Path:
    folder = os.environ.get("PIPELINE_SAMPLE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PIPELINE_SAMPLE_DATA names no folder with the MobileNet V2 sample")
    return Path(folder)


def written_out(model: Any) -> None:
    """Change all integers of the schema's object to float32."""
    [subgraph] = model.subgraphs
    for tensor in subgraph.tensors:
        grid, data = tensor.quantization, model.buffers[tensor.buffer].data
        if grid is None or grid.scale is None:
            continue  # the shape of a RESHAPE
        dtype = np.uint8 if tensor.type == schema.TensorType.UINT8 else np.int32
        if data is not None:
            zero_point = 0 if grid.zeroPoint is None else int(grid.zeroPoint[0])
            real = (data.view(dtype).astype(np.float64) - zero_point) * float(grid.scale[0])
            model.buffers[tensor.buffer].data = real.astype(np.float32).view(np.uint8)
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    for code in model.operatorCodes:
        code.version = 1


def test_mobilenet_v2(nets: Any, sample_data: Path, tmp_path: Path) -> None:
    original = (sample_data / "mobilenet_v2_1.0_224_quant.tflite").read_bytes()
    content = nets.edited(original, written_out)
    graph = lift_tflite(content, "float.tflite")
    came = bring_in(graph, VIEW, "float.tflite")
    kinds = [node.op_type for node in graph.graph]
    assert kinds.count("Conv") == 53 and came.stripped == "Softmax"
    assert not {"Transpose", "Pad", "Softmax"}.intersection(kinds)
    path = tmp_path / "float.onnx"
    save_graph(graph, path)
    logits = int(came.output.removeprefix(TENSOR))
    assert prove_same(content, logits, path, VIEW, 2, "float.tflite") < 1e-4
    dataset = open_dataset("imagenet", sample_data / "imagenet-sample")
    chosen = list(dataset.listing())[::10]
    crops = np.stack([VIEW.crop_image(dataset.image(item.id)) for item in chosen])
    ours = open_runner("onnx", path, None, 2)(crops)
    quantized = sample_data / "mobilenet_v2_1.0_224_quant.tflite"
    theirs = open_runner("tflite", quantized, VIEW.normalization, 1)(crops)
    right = ours.argmax(axis=1) == [item.label + 1 for item in chosen]  # the background is first
    assert right.mean() > 0.8
    assert agreement(ours, theirs) > 0.9
