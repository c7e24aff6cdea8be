"""The recipe's `compile` and `device`: the hand-over to SyNAP, and a board."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pipeline.recipe.section import Count, Section

PreprocessType = Literal[
    "none", "yuv444", "yuv420", "nv12", "nv21", "gray", "rgb", "bgra", "rgb888p", "rgb888p3",
    "float32",
]  # fmt: skip


class NpuPreprocess(Section):
    """Conversion of the input on the NPU, from what a camera gives."""

    type: PreprocessType
    """What comes in: `rgb`, `nv12`, `gray` and others, in the toolkit's words."""
    size: tuple[Count, Count] | None = None
    """Height and width of the incoming image; the default is the model's own."""
    crop: bool | None = None
    """Whether the position of the part that is taken can be set at run time."""


class Compile(Section):
    """The hand-over to SyNAP."""

    delegate: Literal["npu", "cpu"] = "npu"
    """`npu` needs the toolkit. `cpu` packs the quantized ONNX for the runtime's CPU delegate."""
    handoff: Literal["tflite", "onnx"] = "tflite"
    """What the toolkit is given for the NPU. `tflite`: the integer model as it was measured, which
    is not quantized again. `onnx`: the float Graph with calibration images, which the toolkit
    quantizes by itself, so that what was measured only predicts the result."""
    preprocess: NpuPreprocess | None = None
    """Conversion on the NPU in front of the model; the default is none."""
    dequantize_outputs: bool | None = None
    """Whether the compiled model gives real scores instead of integers; the default is the toolkit's."""
    output_format: Annotated[str, Field(min_length=1)] = "confidence_array"
    """SyNAP's word for what the output's numbers mean."""
    metafile: str | None = None
    """A metafile of your own instead of the generated one, relative to the recipe. It is held
    against the same rules; a dataset in it has to be `calibration/*.png`."""
    device_view: bool = True
    """Whether the model is also evaluated on pictures as the board's own program prepares them, which
    costs one more pass over the evaluation images and is only reported."""
    toolkit: Literal["auto", "native", "container", "none"] = "auto"
    """Where to look for the toolkit: on the PATH, as a container image, or in both (`auto`)."""
    image: str = "ghcr.io/synaptics-synap/toolkit:3.2.0"
    """The container image; a digest (`…@sha256:…`) is accepted."""
    if_toolkit_missing: Literal["stop", "cpu"] = "stop"
    """Without a toolkit: stop before any long work, or fall back to the CPU delegate and say so."""


class Device(Section):
    """A board on which the compiled model is run and checked, over the system's OpenSSH."""

    host: Annotated[str, Field(min_length=1)]
    """Name, alias of the ssh configuration, or address."""
    target: Annotated[str, StringConstraints(min_length=1, to_lower=True)]
    """Which chip it has; other targets' models are not run on it."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    """Of its SSH server."""
    user: str = "root"
    """Whom to log in as."""
    identity: str | None = None
    """Private key, relative to the recipe; the default is ssh's own choice."""
    ssh_config: str | None = None
    """ssh's configuration file in place of the user's own, relative to the recipe."""
    command: str = "synap_cli_ic"
    """SyNAP's classification program on the board, by name or absolute path."""
    folder: str = "/tmp"
    """Folder on the board with room for the model and 64 images."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that one command on the board may take."""
