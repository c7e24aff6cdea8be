"""MindSpore's checkpoints are read, and nothing else is taken for one."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.sources.mindspore_checkpoint import read_checkpoint

VALUES = np.arange(6, dtype="<f4") - 2.5


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def run(content: bytes) -> dict[str, torch.Tensor]:
        path = tmp_path / "w.ckpt"
        path.write_bytes(content)
        return read_checkpoint(path)

    return run


def test_tensors_of_every_type(read: Any, ckpt: Any) -> None:
    stored = {
        "a.weight": (b"Float32", VALUES, torch.float32),
        "half": (b"Float16", VALUES.astype("<f2"), torch.float16),
        "double": (b"Float64", VALUES.astype("<f8"), torch.float64),
        "steps": (b"Int32", np.arange(6, dtype="<i4"), torch.int32),
    }
    state = read(
        b"".join(
            ckpt.value(name.encode(), (2, 3), type, values.tobytes())
            for name, (type, values, _) in stored.items()
        )
        # The upper halves of float32 are bfloat16; these values lose nothing by it.
        + ckpt.value(b"brain", (6,), b"BFloat16", VALUES.view("<u2")[1::2].tobytes())
    )
    assert list(state) == [*stored, "brain"]
    for name, (_, values, type) in stored.items():
        assert state[name].dtype == type
        assert torch.equal(state[name], torch.from_numpy(values.reshape(2, 3)))
    assert state["brain"].dtype == torch.bfloat16
    assert state["brain"].tolist() == VALUES.tolist()
    state["a.weight"].mul_(2)  # its memory is its own


@pytest.mark.parametrize("dims", [(), (0,)])
def test_a_single_number(read: Any, ckpt: Any, dims: tuple[int, ...]) -> None:
    (value,) = read(ckpt.value(b"rate", dims, b"Float32", VALUES[:1].tobytes())).values()
    assert value.shape == () and value.item() == -2.5


def test_a_tensor_in_parts(read: Any, ckpt: Any) -> None:
    content = VALUES.tobytes()
    parts = [ckpt.value(b"w", (3, 2), b"Float32", content[i : i + 8]) for i in (0, 8, 16)]
    other = ckpt.value(b"v", (1,), b"Float32", content[:4])
    state = read(b"".join(parts) + other)
    assert state["w"].tolist() == VALUES.reshape(3, 2).tolist()
    with pytest.raises(StageError, match="'w' stands in it twice"):
        read(parts[0] + parts[1] + other + parts[2])
    with pytest.raises(StageError, match=r"24 bytes, but has 16"):
        read(parts[0] + parts[1])
    odd = ckpt.value(b"w", (2, 3), b"Float32", content[16:])
    with pytest.raises(StageError, match="parts of 'w' are of different forms"):
        read(parts[0] + parts[1] + odd)


def test_packed_dimensions(read: Any, ckpt: Any) -> None:
    # A proto3 writer packs them; a proto2 reader has to take both.
    content = VALUES.tobytes()
    value = ckpt.value(b"w", (), b"Float32", content, more=ckpt.block(1, b"\x02\x03"))
    assert read(value)["w"].shape == (2, 3)


def test_the_checksum_is_held(read: Any, ckpt: Any) -> None:
    content = ckpt.value(b"w", (6,), b"Float32", VALUES.tobytes())
    seal = b"crc_num" + zlib.crc32(content).to_bytes(10)
    assert read(content + seal)["w"].tolist() == VALUES.tolist()
    broken = bytearray(content + seal)
    broken[len(content) - 1] ^= 1
    with pytest.raises(StageError, match="checksum is not that of its content"):
        read(bytes(broken))


def test_what_is_no_checkpoint(read: Any, ckpt: Any) -> None:
    good = VALUES.tobytes()
    damaged = {
        "it holds no tensors": b"",
        "a field goes beyond its end": ckpt.value(b"w", (6,), b"Float32", good)[:-1],
        "has a field 2 beside its tensors": ckpt.block(2, b"x"),
        "has no name": ckpt.block(1, ckpt.block(2, b"")),
        "is not UTF-8": ckpt.value(b"\xff", (6,), b"Float32", good),
        "'w' is no dense tensor": ckpt.block(1, ckpt.block(1, b"w") + ckpt.block(3, b"")),
        "has no type or no content": ckpt.block(1, ckpt.block(1, b"w") + ckpt.block(2, b"")),
        "unknown or repeated field 3": ckpt.value(b"w", (6,), b"Float32", good, ckpt.block(3, b"")),
        "unknown or repeated field 9": ckpt.value(b"w", (6,), b"Float32", good, ckpt.block(9, b"")),
        "type 'str', which is not read": ckpt.value(b"w", (0,), b"str", good),
        "holds a number where a block belongs": b"\x08\x01",
        # Shapes that nothing may be allocated for.
        "which are 4398046511104 bytes, but has 24": ckpt.value(
            b"w", (2**20, 2**20), b"Float32", good
        ),
        r"\[9223372036854775807, 9223372036854775807, 0\]": ckpt.value(
            b"w", (2**63 - 1, 2**63 - 1, 0), b"Float32", good
        ),
        "has no possible shape": ckpt.value(b"w", (-1, -6), b"Float32", good),
        r"'w' has no possible shape": ckpt.value(b"w", (0, 2**62, 2**62), b"Float32", b""),
        r"tensor 'w' has no possible": ckpt.value(b"w", (1,) * 9, b"Float32", good[:4]),
        r"'a\\\\x1b\[2Jb' is no dense tensor": ckpt.block(1, ckpt.block(1, b"a\x1b[2Jb")),
    }
    for says, content in damaged.items():
        with pytest.raises(StageError, match=says) as caught:
            read(content)
        assert caught.value.where.endswith("w.ckpt")
        assert "mindspore.save_checkpoint" in caught.value.hint


def test_files_of_other_kinds(tmp_path: Path, read: Any) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "w.pth")
    for content in ((tmp_path / "w.pth").read_bytes(), b"\x80\x02}q\x00.", b"<!doctype html>"):
        with pytest.raises(StageError, match="no MindSpore checkpoint"):
            read(content)
    with pytest.raises(StageError, match="cannot be read"):
        read_checkpoint(tmp_path / "absent")


@given(st.binary(max_size=64), st.integers(0, 60), st.binary(max_size=4))
def test_damage_is_said_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, ckpt: Any, junk: bytes, at: int, patch: bytes
) -> None:
    content = ckpt.value(b"w", (6,), b"Float32", VALUES.tobytes())
    for damaged in (junk, content[:at] + patch + content[at + len(patch) :]):
        path = tmp_path_factory.getbasetemp() / "junk.ckpt"
        path.write_bytes(damaged)
        try:
            state = read_checkpoint(path)
        except StageError:
            continue
        assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
