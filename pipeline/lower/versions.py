"""The lowest version of each operator that has its meaning, so that old readers take the file.

As LiteRT's own converter counts (`op_version.cc`); what options demand on top is said where they
are written.
"""

VERSIONS: dict[str, tuple[int, int]] = {
    "ADD": (1, 2),
    "AVERAGE_POOL_2D": (1, 2),
    "CONCATENATION": (1, 2),
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 4),
    "HARD_SWISH": (1, 1),
    "LEAKY_RELU": (1, 1),
    "LOGISTIC": (1, 2),
    "MAX_POOL_2D": (1, 2),
    "MEAN": (1, 2),
    "MUL": (1, 2),
    "PAD": (1, 2),
    "PADV2": (1, 2),
    "QUANTIZE": (1, 1),
    "RELU": (2, 2),
    "RELU6": (1, 2),
    "RELU_N1_TO_1": (1, 1),
    "RESHAPE": (1, 1),
    "SOFTMAX": (1, 2),
    "SPLIT": (1, 2),
    "STRIDED_SLICE": (1, 2),
    "SUB": (1, 2),
    "TANH": (1, 2),
    "TRANSPOSE": (1, 2),
}
"""For uint8 and for int8."""

GROUPED_CONVOLUTION = 6
DILATED_DEPTHWISE = 2
RESCALING_MUL = 3
"""Of a Mul whose scales' product exceeds that of its result."""


def lowest_version(kind: str, dtype: str) -> int:
    """The version for a result of this type (`uint8` or `int8`)."""
    return VERSIONS[kind][0 if dtype == "uint8" else 1]


def rank_version(kind: str, rank: int) -> int:
    """What the number of dimensions demands of operators that take more than four."""
    if rank <= 4:
        return 1
    return 6 if kind == "TRANSPOSE" and rank > 5 else 4
