"""Sliding windows: what ONNX's pads are in TFLite, which knows only SAME and VALID.

SAME means `out = ceil(size / stride)` with the padding that this takes, the smaller half before;
VALID means none. A third way is a PAD of its own before a VALID window.
"""

from dataclasses import dataclass
from typing import Literal

Padding = Literal["SAME", "VALID"]


@dataclass(frozen=True)
class Axis:
    """A window along one dimension, `size` values long, that begins `begin` before the first and
    is taken `out` times."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    out: int

    @property
    def extent(self) -> int:
        """From a window's first value to its last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def end(self) -> int:
        """How far the last window reaches beyond the last value, which pads may exceed (what no
        window reads does not count) or, with `ceil_mode`, fall short of."""
        return max((self.out - 1) * self.stride + self.extent - self.size - self.begin, 0)

    @property
    def is_valid(self) -> bool:
        """Whether it is what TFLite calls VALID."""
        return self.begin == 0 and self.out == (self.size - self.extent) // self.stride + 1

    @property
    def is_same(self) -> bool:
        """Whether it is what TFLite calls SAME."""
        total = max((self.out - 1) * self.stride + self.extent - self.size, 0)
        return self.out == -(-self.size // self.stride) and self.begin == total // 2

    @property
    def shift(self) -> int:
        """Where in the results of the same window with stride 1 and SAME padding the first result
        is; every `stride`-th from there is one of its own."""
        return (self.extent - 1) // 2 - self.begin

    @property
    def is_part_of_same(self) -> bool:
        """Whether all results are among those of stride 1 and SAME padding."""
        return self.shift >= 0 and self.shift + (self.out - 1) * self.stride < self.size

    @property
    def every(self) -> "Axis":
        """The same window with stride 1 and SAME padding."""
        return Axis(self.size, self.kernel, 1, self.dilation, (self.extent - 1) // 2, self.size)


@dataclass(frozen=True)
class Window:
    """A window over rows and columns."""

    rows: Axis
    columns: Axis

    @property
    def padding(self) -> Padding | None:
        """TFLite's word for it; None where only a PAD of its own gives it."""
        if self.rows.is_valid and self.columns.is_valid:
            return "VALID"
        return "SAME" if self.rows.is_same and self.columns.is_same else None
