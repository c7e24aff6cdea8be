"""SyNAP's words for scales and zero points."""

import pytest

from pipeline.inspect.schemes import Grid, is_power_of_two, quantization_of

AFFINE = Grid("uint8", (0.3,), (5,))
FIXED = Grid("int16", (2**-9,), (0,))
SIGNED = Grid("int8", (0.3,), (-4,))
CHANNELS = Grid("int8", (0.1, 0.2), (0, 0))


@pytest.mark.parametrize(
    ("activations", "weights", "kind", "data_type", "scheme"),
    [
        ([], [], "float", "float16", None),
        ([AFFINE], [AFFINE], "quantized", "uint8", "asymmetric_affine"),
        ([SIGNED], [CHANNELS], "quantized", "int8", "perchannel_symmetric_affine"),
        ([FIXED], [FIXED], "quantized", "int16", "dynamic_fixed_point"),
        ([FIXED, AFFINE], [], "quantized", "int16+uint8", "asymmetric_affine"),
        ([CHANNELS], [], "quantized", "int8", None),
        ([SIGNED], [Grid("int8", (0.1, 0.2), (0, 1))], "quantized", "int8", None),
        ([], [CHANNELS], "weights only", "int8", "perchannel_symmetric_affine"),
    ],
)
def test_the_word(
    activations: object, weights: object, kind: str, data_type: str, scheme: object
) -> None:
    facts = quantization_of(activations, weights, "QDQ", "float16")  # type: ignore[arg-type]
    assert (facts.kind, facts.data_type, facts.scheme) == (kind, data_type, scheme)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(1.0, True), (2**-30, True), (0.3, False), (0.0, False), (-0.5, False), (float("inf"), False),
     (float("nan"), False)],
)  # fmt: skip
def test_powers_of_two(scale: float, expected: bool) -> None:
    assert is_power_of_two(scale) is expected
