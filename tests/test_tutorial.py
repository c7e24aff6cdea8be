"""Every command of docs/tutorial.md, in order, on a real model and real pictures.

The pictures are scikit-learn's digits that no training here sees, as JPEGs; the model is a small
classifier, trained here and exported by PyTorch. There is no board: `scp`, `ssh` and the program on
the board are stand-ins.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIZE = 32


class Step(NamedTuple):
    """A block of the page: `sh`, `text` (what the commands before it print), `yaml` (lines that are
    in the recipe) or `edit` (lines to write into it)."""

    kind: str
    text: str


def steps_of_page() -> list[Step]:
    found = re.findall(
        r"(<!-- edit -->\n)?^```(\w+)\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    return [Step("edit" if edit else kind, text) for edit, kind, text in found]


def write_photos(folder: Path) -> None:
    """The held-out digits, 128x96, each in the folder of its class."""
    from pipeline.data.digits import open_digits

    digits = open_digits(None)
    for item in digits.listing():
        photo = Image.new("RGB", (128, 96))
        digit = digits.image(item.id).resize((96, 96), Image.Resampling.BICUBIC)
        photo.paste(digit, (16, 0))
        path = folder / CLASSES[item.label] / f"{item.id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path, quality=92)


def write_model(path: Path) -> None:
    """Three convolutions, trained on pixels from -1 to 1."""
    import torch
    from torch import nn

    from pipeline.data.digits import digits_training

    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    torch.manual_seed(0)
    model = nn.Sequential(
        *layer(3, 16), *layer(16, 32), *layer(32, 64),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(CLASSES)),
    )  # fmt: skip
    pictures, labels = (torch.from_numpy(array) for array in enlarged(*digits_training()))
    optimizer = torch.optim.Adam(model.parameters())
    rounds, batch = 14, 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-2, epochs=rounds, steps_per_epoch=-(-len(labels) // batch)
    )
    for _ in range(rounds):
        for part in torch.randperm(len(labels)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pictures[part]), labels[part]).backward()
            optimizer.step()
            schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is the older exporter
        torch.onnx.export(
            model.eval(), (torch.zeros(1, 3, SIZE, SIZE),), str(path), dynamo=False,
            opset_version=17, input_names=["image"], output_names=["logits"],
        )  # fmt: skip


def enlarged(pictures: Any, labels: Any) -> tuple[Any, Any]:
    rows = [
        np.asarray(Image.fromarray(p).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for p in pictures
    ]
    pixels = np.stack(rows).astype(np.float32) / 127.5 - 1
    return np.repeat(pixels[:, None], 3, axis=1), labels


def write_stand_ins(folder: Path, board: Path) -> None:
    """`scp` and `ssh` to a folder in place of a board, with a `synap_cli_ic` that opens its files."""
    board.mkdir()
    programs = {
        "scp": f'[ "$1" = -r ] && cp -r "$2" "{board}/$(basename "${{3#*:}}")"',
        "ssh": f'shift; exec sh -c "$(echo "$*" | sed "s#/tmp/#{board}/#g")"',
        "synap_cli_ic": '[ "$1" = -m ] && cat "$2" "$3" > /dev/null && echo "stand-in: $2 $3"',
    }
    folder.mkdir()
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command as the page's reader gives it, both outputs in one. The tests' own Python is used
    instead of the one in .venv, the Makefile from where it is."""
    line = line.replace(".venv/bin/python", shlex.quote(sys.executable))
    made = "-o .venv/.installed -o .venv/.installed-dev"
    makefile = f"make -f {shlex.quote(str(ROOT / 'Makefile'))} PY={shlex.quote(sys.executable)}"
    line = re.sub(r"^make ", f"{makefile} {made} ", line)
    path = f"{folder}/bin:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, text=True, timeout=600, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
    )  # fmt: skip


def edit(recipe: Path, lines: str) -> None:
    """Write lines into the recipe in the place of those of the same indent and key, commented out
    or not."""
    text = recipe.read_text()
    for line in lines.splitlines():
        indent, key = re.match(r"( *)(\w+):", line).groups()  # type: ignore[union-attr]
        text, count = re.subn(rf"^{indent}(# )?{key}:.*$", line, text, flags=re.MULTILINE)
        assert count == 1, f"the recipe has {count} lines {key}"
    recipe.write_text(text)


def without_numbers(text: str, folder: Path) -> list[str]:
    """The lines, without numbers (a bare - is one that there is not), which differ from one machine
    to another, and without the width of columns."""
    text = text.replace(f"{folder}/", "…/")
    masked = re.sub(r"(?<!\S)([-+]?\d[\d.]*( dB)?|-)(?!\S)|\d[\d.]*", "#", text)
    return [" ".join(line.split()) for line in masked.splitlines()]


def commands(text: str) -> Iterator[str]:
    """The lines of a block, those that end in a backslash joined with the next."""
    yield from text.replace("\\\n", "").splitlines()


def expected_code(shown: str, block: str) -> int:
    """1 where the page shows a check that failed, or that --strict does not let pass."""
    strict = "--strict" in block and ": UNDECIDED: " in shown
    return 1 if strict or re.search(r"^\S+: FAIL: ", shown, flags=re.MULTILINE) else 0


@pytest.mark.slow
def test_every_command_of_the_tutorial(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    write_model(tmp_path / "digits.onnx")
    write_stand_ins(tmp_path / "bin", tmp_path / "board")
    steps, recipe = steps_of_page(), tmp_path / "digits.yaml"
    printed = ""
    for number, step in enumerate(steps):
        if step.kind == "edit":
            edit(recipe, step.text)
        elif step.kind == "yaml":
            assert step.text in recipe.read_text()
        elif step.kind == "text":
            lines = without_numbers(printed, tmp_path)
            for line in without_numbers(step.text, tmp_path):
                assert line == "…" or line in lines, f"{line!r} is not in:\n{printed}"
        else:
            after = steps[number + 1] if number + 1 < len(steps) else Step("", "")
            shown = after.text if after.kind == "text" else ""
            printed = ""
            for command in commands(step.text):
                done = run(command, tmp_path)
                printed += done.stdout
                assert done.returncode == expected_code(shown, step.text), command + done.stdout
    report = json.loads((tmp_path / "artifacts/digits/sl1680/report.json").read_text())
    assert report["verdict"] == "PASS"
    assert "stand-in: model.synap sample.png" in printed, "the last step is on the board"


def test_the_page_has_every_kind_of_step() -> None:
    steps = steps_of_page()
    assert {step.kind for step in steps} == {"sh", "text", "yaml", "edit"}
    told = "".join(step.text for step in steps if step.kind == "sh")
    for word in ("init", "plan", "run", "card", "sensitivity", "compare", "gate", "evaluate"):
        assert f"-m pipeline {word} " in told
    assert "make convert CONFIG=" in told


def test_what_is_shown_is_compared_without_numbers_only() -> None:
    folder = Path("/somewhere")
    shown = without_numbers("lower  98.20%  -0.36       -  stored  1.2 kB\n", folder)
    assert shown == without_numbers("lower 7.00% +0.00 12.5 dB stored 28.8 kB\n", folder)
    assert shown != without_numbers("lower 7.00% +0.00 12.5 dB stored 28.8 MB\n", folder)
    assert without_numbers("/somewhere/a: FAIL", folder) == ["…/a: FAIL"]
