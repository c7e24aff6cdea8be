"""A TEST DOUBLE of SyNAP's on-device `synap_cli_ic`. No NPU, and no model worth the name.

It takes the documented command line, prints the documented output, and enforces what the
project's notes on the toolkit 3.2.0 say under "On the device" (each sentence is cited below). Its
"logits" are sums of the picture's bytes, exact in float32, so that a test knows every one of them
(only a CPU bundle is really run); its times mean nothing. It shares no code with the package under test.

The first argument is the folder of its state: `orders` has one line for each coming call, in which
way it misbehaves (none left: not at all); `calls` gets the images of each call; `sshd` has the
process id of the SSH server; `pids` gets the process ids that tests look for later.
"""

import json
import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image
from session import session

STATE = Path(sys.argv[1])


def main() -> None:
    order = next_order()
    # "`synap_cli_ic -m model.synap [--top N] files…`"
    arguments, model, top, files = sys.argv[2:], None, 5, []
    while arguments:
        word = arguments.pop(0)
        if word == "-m":
            model = arguments.pop(0)
        elif word == "--top":
            top = int(arguments.pop(0))
        elif word.startswith("-"):
            refuse(f"unknown option {word}")
        else:
            files.append(word)
    with (STATE / "calls").open("a") as stream:
        stream.write(json.dumps(files) + "\n")
    height, width, classes, run = open_model(model)
    for number, name in enumerate(files):
        order.misbehave(number)
        classify(name, height, width, classes + order.further_classes(number), top, run)
    order.misbehave(len(files))


def refuse(text: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")
    sys.exit(1)


Run = Callable[[Image.Image], list[float]]


def open_model(path: str | None) -> tuple[int, int, int, Run | None]:
    """Height, width, classes, and what runs it, where that is not the NPU."""
    try:
        # "A zip with stored entries …: `bundle.json`, then `<i>/<model>` and `<i>/<meta>`"
        with zipfile.ZipFile(path or "") as archive:
            graph = json.loads(archive.read("bundle.json"))["graph"][0]
            meta = json.loads(archive.read(graph["meta"]))
            model = archive.read(graph["model"])
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        refuse(f"Failed to load model {path}: {error}")
    image, scores = *meta["Inputs"].values(), *meta["Outputs"].values()
    classes = scores["shape"][1]
    # "CPU delegate, as the toolkit itself writes it: `"delegate": "onnx cpu=1 "`"
    if meta.get("delegate", "npu").startswith("onnx"):
        _, _, height, width = image["shape"]
        return height, width, classes, runner(model, image)
    _, height, width, _ = image["shape"]
    return height, width, classes, None


def runner(model: bytes, image: dict[str, Any]) -> Run:
    """A CPU bundle is run as the runtime does it, by ONNX Runtime."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    mean = np.array(image["mean"], np.float32).reshape(3, 1, 1)

    def run(picture: Image.Image) -> list[float]:
        planes = np.asarray(picture, np.float32).transpose(2, 0, 1)
        norm = (planes - mean) / np.float32(image["scale"])
        result = session.run(None, {image["name"]: norm[None]})[0]
        return [float(value) for value in result[0]]

    return run


def classify(name: str, height: int, width: int, classes: int, top: int, run: Run | None) -> None:
    try:
        image = Image.open(name)
    except OSError as error:
        refuse(f"Error, unable to load {name}: {error}")
    # "Grayscale or RGBA files make it exit 1 in mid-batch."
    if image.mode != "RGB":
        refuse(f"Error, unsupported image {name}: {image.mode}")
    if image.size != (width, height):
        refuse("this test double does not resize")
    flat = image.tobytes()
    made_up = (
        sum(byte * (place * (label + 3) % 17 - 8) for place, byte in enumerate(flat)) / 64
        for label in range(classes)
    )
    logits = list(made_up) if run is None else run(image)
    # "`--top 0` returns every class"; the best come first.
    order = sorted(range(classes), key=lambda i: (-logits[i], i))[: top or None]
    items = [{"class_index": i, "confidence": logits[i]} for i in order]
    # "per image `Input image: P`, `Classification time: X ms (pre:…, inf:…, post:…)`, then JSON
    # `{"items": [{"class_index", "confidence"}…], "success": true}`"
    total, inference = 3.5 + flat[0] / 64, 2.5 + flat[0] / 64
    print(f"Input image: {name}")
    print(
        f"Classification time: {total:.2f} ms (pre:800us, inf:{inference * 1000:.0f}us, post:200us)"
    )
    print(json.dumps({"items": items, "success": True}, indent=2))


class Order:
    """One way to misbehave: `KIND` or `KIND NUMBER`, at the image of that number."""

    def __init__(self, line: str) -> None:
        self.kind, _, number = line.partition(" ")
        self.number = int(number or 0)

    def further_classes(self, number: int) -> int:
        return 1 if self.kind == "another-class" and number >= self.number else 0

    def misbehave(self, number: int) -> None:
        if number != self.number or self.kind in ("", "behave"):
            return
        sys.stdout.flush()
        if self.kind == "drop":
            os.kill(session(STATE), signal.SIGKILL)
            time.sleep(600)
        elif self.kind == "reboot":
            # As after a loss of power: what was in memory is gone.
            os.system(f"rm -rf {Path.cwd().parent}")
            os.kill(session(STATE), signal.SIGKILL)
        elif self.kind == "freeze":
            # The line is there, and nothing comes through it.
            while True:
                os.kill(session(STATE), signal.SIGSTOP)
                time.sleep(0.1)
        elif self.kind == "flood":
            while True:
                print("x" * 1000)
        elif self.kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.kind == "exit":
            refuse("Error, inference failed")
        elif self.kind == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            with (STATE / "pids").open("a") as stream:
                stream.write(f"{os.getpid()}\n")
            time.sleep(600)
        elif self.kind == "garbage":
            sys.stdout.buffer.write(bytes(range(256)) * 8 + b"\n")


def next_order() -> Order:
    path = STATE / "orders"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("\n".join(lines[1:]))
    return Order(lines[0] if lines else "")


if __name__ == "__main__":
    main()
