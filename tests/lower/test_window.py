"""What ONNX's pads are in TFLite's words, against a window that is walked step by step."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.lower.window import Axis, Window


@st.composite
def axes(draw: st.DrawFn) -> tuple[Axis, int]:
    """An axis as ONNX defines it, and the padding behind it."""
    kernel, stride, dilation = (draw(st.integers(1, n)) for n in (5, 4, 3))
    extent = (kernel - 1) * dilation + 1
    begin, end = (draw(st.integers(0, extent - 1)) for _ in range(2))
    size = draw(st.integers(max(extent - begin - end, 1), 16))
    whole = size + begin + end - extent
    up = draw(st.booleans())
    out = (-(-whole // stride) if up else whole // stride) + 1
    return Axis(size, kernel, stride, dilation, begin, out), end


def starts(size: int, extent: int, stride: int, padding: str) -> list[int]:
    """Where TensorFlow's windows begin, counted from the first value."""
    if padding == "VALID":
        return list(range(0, size - extent + 1, stride))
    count = -(-size // stride)
    total = max((count - 1) * stride + extent - size, 0)
    return [index * stride - total // 2 for index in range(count)]


def meant(axis: Axis) -> list[int]:
    return [index * axis.stride - axis.begin for index in range(axis.out)]


@given(drawn=axes())
def test_words_mean_the_same_windows(drawn: tuple[Axis, int]) -> None:
    axis, _ = drawn
    for padding, said in (("SAME", axis.is_same), ("VALID", axis.is_valid)):
        assert said == (meant(axis) == starts(axis.size, axis.extent, axis.stride, padding))


@given(drawn=axes())
def test_padding_by_itself_is_what_is_read(drawn: tuple[Axis, int]) -> None:
    axis, _ = drawn
    last = meant(axis)[-1] + axis.extent - 1
    assert axis.end == max(last - (axis.size - 1), 0)
    padded = axis.size + axis.begin + axis.end
    windows = [start + axis.begin for start in meant(axis)]
    assert windows == starts(padded, axis.extent, axis.stride, "VALID")


@given(drawn=axes())
def test_windows_among_those_of_stride_1(drawn: tuple[Axis, int]) -> None:
    axis, _ = drawn
    every = starts(axis.size, axis.extent, 1, "SAME")
    assert axis.every.is_same and axis.every.out == axis.size
    if axis.is_part_of_same:
        stop = axis.shift + (axis.out - 1) * axis.stride + 1
        assert every[axis.shift : stop : axis.stride] == meant(axis)
    else:
        assert not set(meant(axis)) <= set(every)


def test_a_window_needs_one_word_for_both_axes() -> None:
    valid = Axis(8, 3, 1, 1, 0, 6)
    same = Axis(8, 3, 1, 1, 1, 8)
    both = Axis(8, 1, 1, 1, 0, 8)
    neither = Axis(8, 3, 2, 1, 1, 4)
    assert Window(valid, valid).padding == "VALID"
    assert Window(same, same).padding == "SAME"
    assert Window(same, both).padding == "SAME"
    assert Window(both, valid).padding == "VALID"
    assert Window(valid, same).padding is None
    assert Window(neither, neither).padding is None
