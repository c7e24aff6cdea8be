"""The registry of sources."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pipeline
from pipeline.recipe import Model, SourceName
from pipeline.sources import SOURCES


def test_every_source_a_recipe_can_name_is_registered() -> None:
    # Model files are no PyTorch models: their chains start behind `weights`.
    files = {word for word in get_args(SourceName) if Model(source=word, name="m").is_file}
    assert files == {"onnx", "quantized-onnx", "tflite", "quantized-tflite"}
    assert set(SOURCES) == set(get_args(SourceName)) - files


def test_importing_the_registry_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'timm', 'numpy', 'PIL', 'sklearn', 'huggingface_hub', 'safetensors'}"
    program = f"import sys, pipeline.sources; print({heavy} & set(sys.modules))"
    root = Path(pipeline.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
