"""The meta of a subgraph that the runtime's ONNX delegate runs on the CPU.

It is what the toolkit (3.2.0) writes for a float or QDQ ONNX with `delegate: cpu`; a bundle of
this form was loaded by the public runtime and classified images correctly.
"""

import math
from collections.abc import Sequence

from pipeline.errors import StageError
from pipeline.synap.bundle import Meta, Tensor

ENGINE = "onnx cpu=1"


def cpu_onnx_meta(
    *,
    input_name: str,
    input_shape: Sequence[int],
    means: Sequence[float],
    scale: float,
    output_name: str,
    output_shape: Sequence[int],
    options: str = "",
) -> Meta:
    """Describe a classifier with one float32 NCHW image input and one float32 output.

    `input_shape` is `[1, C, H, W]`, `output_shape` `[1, N]`. `means` (one per channel) and `scale`
    are in byte units: the runtime assigns `(byte - means[c]) / scale`. `options` go to the
    delegate, for example `num_threads=4`. Raises `StageError` for what the runtime cannot hold.
    """
    if len(input_shape) != 4:
        raise StageError(f"a CPU bundle wants an input [1, C, H, W], not {list(input_shape)}")
    if input_shape[0] != 1 or list(output_shape[:1]) != [1]:
        raise StageError(
            f"a CPU bundle wants batch 1, not input {list(input_shape)} and output "
            f"{list(output_shape)}"
        )
    if any(side < 1 for side in (*input_shape, *output_shape)):
        raise StageError(f"a side below 1: input {list(input_shape)}, output {list(output_shape)}")
    if not input_name or not output_name:
        raise StageError(f"a tensor without a name: input {input_name!r}, output {output_name!r}")
    if len(means) != input_shape[1]:
        raise StageError(f"{len(means)} means for {input_shape[1]} channels")
    if not all(map(math.isfinite, (*means, scale))) or scale == 0:
        raise StageError(f"means {list(means)} and scale {scale} have to be finite, scale not 0")
    image = Tensor(
        shape=tuple(input_shape),
        format="nchw",
        dtype="float32",
        name=input_name,
        data_format="rgb",
        security="any",
        mean=tuple(float(mean) for mean in means),
        scale=float(scale),
    )
    scores = Tensor(
        shape=tuple(output_shape),
        format="nchw",
        dtype="float32",
        name=output_name,
        data_format="confidence_array",
        security="secure-if-input-secure",
    )
    # The toolkit joins engine and options with a space even where there are no options, so its
    # string ends with one; the runtime reads both alike, but ours is to be the same file.
    return Meta(
        inputs={input_name: image},
        outputs={output_name: scores},
        secure=False,
        delegate=f"{ENGINE} {options}",
    )
