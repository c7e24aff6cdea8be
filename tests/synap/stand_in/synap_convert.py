"""A TEST DOUBLE of the SyNAP toolkit's `synap_convert`. It compiles nothing.

The real converter needs a licensed NPU compiler. This one takes the same command line, enforces
the rules that the project's notes on the toolkit 3.2.0 state (each cited below by section and
sentence), behaves as wrongly as the real one where that is what they state, and leaves files of
the documented form. Nothing it writes runs anywhere, and its numbers mean nothing. It shares no
code with the package under test.

`SYNAP_STAND_IN` makes it fail: exit1, traceback, long_traceback, hang, killed, disk_full,
no_output, float, other_target, requantized, no_listing, no_table, other_program, silent_version,
broken_version, spam, left_behind. `own_table.py` says how to change the table that it leaves where
it quantizes.
"""

import argparse
import glob
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import yaml
from own_table import write_table

VERSION = "3.2.0"
MODE = os.environ.get("SYNAP_STAND_IN", "")
# "Targets are case-insensitive."; the names are those of the command's own help.
TARGETS = ("GENERIC", "DVF120", "VS640", "VS680", "SL1620", "SL1640", "SL1680")
# "Model formats by extension: …"
FORMATS = (".tflite", ".onnx", ".torchscript", ".pt", ".pth", ".pb", ".prototxt")
# "The metafile (closed field set; an unknown field is an error)"
FIELDS = {
    "": {
        "optimize", "data_layout", "input_format", "output_format", "dequantize_outputs",
        "inputs", "outputs", "quantization", "security", "custom", "delegate",
    },
    "inputs": {"name", "shape", "means", "scale", "format", "security", "preprocess"},
    "preprocess": {"type", "size", "crop"},
    "outputs": {"name", "shape", "dequantize", "format", "security"},
    "quantization": {"dataset", "data_type", "scheme", "mode", "algorithm", "options"},
}  # fmt: skip
TYPES = ("uint8", "int8", "int16", "float16")


class ConversionError(Exception):
    """What the toolkit knows to be wrong: `Error: …` on stderr and exit code 1."""


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in ("--version", "-v"):
        print_version()
        return
    # "argparse 2": an unknown or missing flag.
    parser = argparse.ArgumentParser(prog="synap_convert", allow_abbrev=False)
    for flag in ("--model", "--target", "--out-dir"):
        parser.add_argument(flag, required=True)
    for flag in ("--weights", "--meta", "--tools-dir", "--vssdk-dir"):
        parser.add_argument(flag)
    parser.add_argument("--out-format", default="synap")
    for flag in ("--profiling", "--verbose", "--silent", "--debug", "--preserve"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    # "a missing prebuilts folder is a traceback": raised before anything is caught.
    if options.tools_dir is not None and not Path(options.tools_dir).is_dir():
        raise ConversionError(f"Can't find directory for toolkit prebuilts: {options.tools_dir}")
    try:
        convert(options)
    except ConversionError as error:
        # "1 and `Error: …` on stderr"
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(1)
    except Exception:  # noqa: BLE001 - as the toolkit does
        traceback.print_exc(file=sys.stdout)
        sys.stderr.write(f"Temporary files available at : {options.out_dir}/build\n")
        sys.exit(1)
    if not options.silent:
        # "0 and `Conversion successful` on stdout"
        print("Conversion successful")


def print_version() -> None:
    # "Recognise the toolkit by `synap_convert --version` printing a bare version such as `3.2.0`"
    if MODE == "other_program":
        print("synap_convert 1.0, a tool for something else")
    elif MODE == "broken_version":
        sys.exit("ModuleNotFoundError: No module named 'acuitylib'")
    elif MODE != "silent_version":
        print(VERSION)


def convert(options: argparse.Namespace) -> None:
    out = Path(options.out_dir)
    paths = [Path(p).absolute() for p in (options.model, options.meta, options.out_dir) if p]
    # "Spaces in paths break it."
    for path in paths:
        if " " in str(path):
            raise ConversionError(f"No such file or directory: {str(path).split(' ')[0]}")
    target = options.target.upper()
    if target not in TARGETS:
        raise ConversionError(f"Invalid target specified: {target}")
    model = Path(options.model)
    if not model.is_file():
        raise ConversionError(f"model not found: {model}")
    meta = load_meta(Path(options.meta)) if options.meta else {}
    if model.suffix not in FORMATS:
        raise ConversionError(f"unknown network format: {model.suffix}")
    # "`--out-format nb` is broken in 3.2.0."
    if options.out_format == "nb":
        raise TypeError("Converter.__init__() missing 1 required positional argument: 'work_dir'")
    if options.out_format != "synap":
        raise ConversionError(f"unknown output format: {options.out_format}")
    check_delegate(meta)
    # "nhwc is illegal for ONNX"
    if model.suffix == ".onnx" and meta.get("data_layout") == "nhwc":
        raise ConversionError("DataLayout.NHWC layout not supported with .onnx models.")
    (out / "build").mkdir(parents=True)
    (out / "cache").mkdir()  # "Outputs: …, `cache/`"
    print("Converting...\r", end="", flush=True)
    misbehave(out)
    by_toolkit = quantize(meta, Path(options.meta).parent if options.meta else Path())
    # "Already quantized TFLite …: No requantization"
    quantized = (by_toolkit or model.suffix == ".tflite") and MODE != "float"
    print("Compiling...\r", end="", flush=True)
    if MODE == "other_target":
        target = "SL1640" if target in ("SL1680", "VS680") else "SL1680"
    own = tensors_of(model) if model.read_bytes()[4:8] == b"TFL3" else shapes_of(model)
    write_results(out, meta, target, quantized, own)
    if by_toolkit and MODE not in ("float", "no_table"):
        folder = Path(options.meta).parent
        write_table(out / "quantization_info.yaml", model, meta, folder, VERSION)
        # "`quantization_entropy.txt` (kl_divergence only)"
        if meta["quantization"].get("algorithm") == "kl_divergence":
            (out / "quantization_entropy.txt").write_text("conv1 0.0\n")


def load_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConversionError(f"model metafile not found: {path}")
    # "`${ENV:x}` expands over the whole file (unset becomes empty)"
    text = re.sub(r"\$\{ENV:([^}]*)}", lambda found: os.environ.get(found[1], ""), path.read_text())
    meta = yaml.safe_load(text) or {}
    check_fields(meta, "")
    for number, item in enumerate(meta.get("inputs") or []):
        item = meta["inputs"][number] = item or {}
        check_fields(item, "inputs")
        name, shape, scale = item.get("name"), item.get("shape"), item.get("scale")
        # "`name`, `shape` (batch included; each of the two makes the other mandatory)"
        if name and not shape:
            raise ConversionError(f"Input shape is mandatory when name specified: {name}")
        if shape and not name:
            raise ConversionError(f"Input name is mandatory when shape specified: {shape}")
        if shape and len(shape) < 2:
            raise ConversionError(f"Shape for input '{name}' doesn't include batch dimension")
        # "`scale` (ONE number per input, never 0)"
        if scale is not None and (not isinstance(scale, int | float) or scale == 0):
            raise ConversionError(f"invalid scale provided for input {name}: {scale}")
        if item.get("preprocess") is not None:
            check_fields(item["preprocess"], "preprocess")
    for item in meta.get("outputs") or []:
        check_fields(item or {}, "outputs")
    if meta.get("quantization") is not None:
        check_fields(meta["quantization"], "quantization")
    return dict(meta)


def check_fields(data: Any, section: str) -> None:
    if not isinstance(data, dict):
        raise ConversionError(f"Invalid field in yaml file: {data} is not a dictionary")
    unknown = sorted(set(data) - FIELDS[section])
    if unknown:
        raise ConversionError(f"Invalid field(s) in yaml file: {', '.join(unknown)}")


def check_delegate(meta: dict[str, Any]) -> None:
    # "`delegate`: `npu|gpu|cpu|default`, or a map."
    given = meta.get("delegate") or "default"
    words = [w.split(" ")[0] for w in (given.values() if isinstance(given, dict) else [given])]
    for word in words:
        if word not in ("npu", "gpu", "cpu", "default"):
            raise ConversionError(f"Invalid delegate type: {word}")
    if {"cpu", "gpu"} & set(words):
        # "Quantization and a CPU/GPU delegate cannot be combined."
        if (meta.get("quantization") or {}).get("dataset"):
            raise ConversionError("delegate 'cpu' doesn't support model quantization")
        raise ConversionError("this test double compiles for the NPU only")


def quantize(meta: dict[str, Any], folder: Path) -> bool:
    """Whether the toolkit would quantize; False without a word where there is no dataset."""
    section = meta.get("quantization")
    # "No `dataset` means no quantization, silently"
    if section is None or section.get("dataset") is None:
        return False
    check_types(section)
    # "`algorithm` (standard|kl_divergence|moving_average)", "`mode` (standard|full)"
    if section.get("algorithm", "standard") not in ("standard", "kl_divergence", "moving_average"):
        raise ConversionError(f"Invalid quantization algorithm: {section['algorithm']}")
    if section.get("mode", "standard") not in ("standard", "full"):
        raise ConversionError(f"Invalid quantization mode: {section['mode']}")
    # "`quantization` needs an `inputs:` list, even `[{}]`"; "one per input"
    inputs, dataset = meta.get("inputs") or [], section["dataset"]
    if len(inputs) != len(dataset):
        raise ConversionError(
            f"Metafile has {len(inputs)} input(s) but {len(dataset)} quantization dataset"
        )
    # "list of globs, one per input, relative to the metafile, sorted"
    found = [sorted(glob.glob(str((folder / pattern).absolute()))) for pattern in dataset]
    for name in (name for names in found for name in names):
        # "Paths with spaces are rejected."
        if " " in name:
            raise ConversionError(f"Spaces not allowed in quantization dataset: {name}")
    # "same count for every input; empty is an error"
    if len({len(names) for names in found}) > 1:
        raise ConversionError("Quantization datasets must have the same number of files")
    if not found or not found[0]:
        raise ConversionError("Quantization dataset is empty")
    for percent in (0, 50, 100):
        print(f"Quantizing... {percent}%" + " " * 20 + "\r", end="", flush=True)
    return True


def check_types(section: dict[str, Any]) -> None:
    """`scheme` is not looked at: "`scheme` … not validated by the toolkit (`bogus` passes)"."""
    given = section.get("data_type", "uint8")
    # "A global `data_type: float16` is rejected"
    if given == "float16":
        raise ConversionError("invalid quantization data_type specified: float16")
    if isinstance(given, str):
        return
    small = {t for t in given.values() if t in ("uint8", "int8")}
    # "uint8 and int8 cannot be mixed."
    if len(small) > 1:
        raise ConversionError("mixed quantization with uint8 and int8 not allowed")
    base = small.pop() if small else given.get("*", "uint8")
    requantize: dict[str, str] = {}
    for layer, kind in given.items():
        if layer == "*":
            continue
        # "never repeat the base type for a layer (KeyError in the toolkit)"
        if kind == base and given.get("*", base) == base:
            del requantize[layer]
        elif kind != base:
            requantize[layer] = kind


def misbehave(out: Path) -> None:
    """Fail in the way that `SYNAP_STAND_IN` asks for."""
    if MODE == "exit1":
        raise ConversionError("Layer name 'conv7' not in: ['conv1', 'conv2']")
    if MODE == "traceback":
        raise KeyError("attach_conv1/out0_0")
    if MODE == "long_traceback":
        deep(40)
    if MODE == "hang":
        hang()
    if MODE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "disk_full":
        raise OSError(28, "No space left on device", str(out / "build" / "work"))
    if MODE == "no_output":
        print("Conversion successful")
        sys.exit(0)
    if MODE == "spam":
        sys.stdout.write("\x1b[31mred\x1b[0m \x07\n" + "x" * 100_000 + "\n")
        raise ConversionError("too much was said")
    if MODE == "left_behind":
        remember(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)


def deep(levels: int) -> NoReturn:
    if levels:
        deep(levels - 1)
    raise ValueError("the compiler's tables do not fit")


def hang() -> None:
    """Wait for ever, in this process and in a child, both of which ignore a polite request."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    remember(os.getpid())
    remember(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
    print("Waiting for the compiler", flush=True)
    time.sleep(600)


def remember(pid: int) -> None:
    with (Path(os.environ["SYNAP_STAND_IN_STATE"]) / "pids").open("a") as stream:
        stream.write(f"{pid}\n")


def tensors_of(model: Path) -> list[dict[str, Any]]:
    """Input and output of a TFLite model, as LiteRT reads them: "No requantization … the scales
    that were measured are the scales that are compiled"."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    tensors = []
    for found in (interpreter.get_input_details()[0], interpreter.get_output_details()[0]):
        scale, zero_point = found["quantization"]
        signed = found["dtype"].__name__ == "int8"
        quantize = {"qtype": "i8" if signed else "u8", "scale": scale, "zero_point": zero_point}
        if MODE == "requantized":
            quantize["scale"] = scale * 1.01
        shape = [int(size) for size in found["shape"]]
        tensors.append({"name": found["name"], "shape": shape, "quantize": quantize})
    return tensors


def shapes_of(model: Path) -> list[dict[str, Any]]:
    """Input and output of an ONNX model. A file that is no model at all is compiled too, for tests
    that only look at the call."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(model).graph
    except DecodeError:
        return [{}, {}]
    if not graph.input:
        return [{}, {}]
    return [
        {"format": "nchw", "shape": [side.dim_value for side in end.type.tensor_type.shape.dim]}
        for end in (graph.input[0], graph.output[0])
    ]


def write_results(
    out: Path,
    meta: dict[str, Any],
    target: str,
    quantized: bool,
    own: list[dict[str, Any]],
) -> None:
    """Shapes are the metafile's or the model's, or made up where neither names any."""
    first = (meta.get("inputs") or [{}])[0]
    last = (meta.get("outputs") or [{}])[0] or {}
    image = tensor("input", [1, 8, 8, 3], first, own[0], quantized)
    image["data_format"] = first.get("format", "")
    for field, ours in (("means", "mean"), ("scale", "scale")):
        if first.get(field) is not None:
            image[ours] = first[field]
    # Either word for real outputs is taken (`_add_postprocessing` of the toolkit's sources).
    real = meta.get("dequantize_outputs") or last.get("dequantize")
    scores = tensor("scores", [1, 10], last, own[1], quantized and not real)
    scores["data_format"] = last.get("format", "")
    description = {
        "Inputs": {"input_0": image}, "Outputs": {"output_0": scores},
        "Recurrent_connections": {}, "secure": False, "delegate": "npu",
    }  # fmt: skip
    bundle = {
        "graph": [
            {
                "inputs": [{"subgraph": -1, "out": 0}],
                "model": "0/model.nb",
                "meta": "0/model.json",
            }
        ],
        "outputs": [{"subgraph": 0, "out": 0}],
    }
    # "A zip with stored entries dated 1980: `bundle.json`, then `<i>/<model>` and `<i>/<meta>`"
    with zipfile.ZipFile(out / "model.synap", "w") as archive:
        archive.writestr(zipfile.ZipInfo("bundle.json"), json.dumps(bundle, indent=True))
        archive.writestr(zipfile.ZipInfo("0/model.nb"), compiled(target))
        archive.writestr(zipfile.ZipInfo("0/model.json"), json.dumps(description, indent=4))
    if MODE != "no_listing":
        write_listing(out, image, scores)
    (out / "build").rmdir()


def tensor(
    name: str, shape: list[int], said: dict[str, Any], own: dict[str, Any], quantized: bool
) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "shape": shape, "format": "nhwc"}
    described |= {key: value for key, value in own.items() if key != "quantize"}
    described |= {key: said[key] for key in ("name", "shape") if said.get(key) is not None}
    if quantized:
        # "`quantizer` (none|asymmetric_affine|dynamic_fixed_point), `quantize {qtype, scale, …}`"
        made_up = {"qtype": "u8", "scale": 0.0078125, "zero_point": 128}
        return described | {
            "quantizer": "asymmetric_affine",
            "quantize": {**own.get("quantize", made_up), "max_value": 1.0},
        }
    return described | {"dtype": "float16"}


def compiled(target: str) -> bytes:
    """ "`EBGX` container, little-endian: magic, endianness, version (=1), security_type,
    security_info_len, metadata_len, vsi_data_len, padding_len, code_len (36 bytes); after
    security_info: hardware_type u32, network_name[64], compiler ids, execution mode, counts of
    inputs, outputs and areas" """
    areas = b"\0" * 20 * 4
    hardware = 0xC1 if target in ("SL1680", "VS680") else 0xC2
    metadata = struct.pack("<I64s6I", hardware, b"stand-in", 0, 0, 0, 1, 1, 2) + areas
    code = b"NOT COMPILED: written by a test double of synap_convert\n"
    header = struct.pack("<4s8I", b"EBGX", 0, 1, 0, 0, len(metadata), 16, 4, len(code))
    return header + metadata + b"\0" * 16 + b"\0" * 4 + code


def write_listing(out: Path, image: dict[str, Any], scores: dict[str, Any]) -> None:
    lines = [
        f"Model converted with SyNAP toolkit {VERSION}", "", "delegate: npu", "subgraphs: 1", "",
        "", "=" * 100, "Detailed input/output information for subgraph_0:", "",
        yaml.safe_dump({"secure": False, "delegate": "npu", "inputs": [listed(image)],
                        "outputs": [listed(scores)]}, sort_keys=False),
        "=" * 100, "Detailed graph information for subgraph_0:", "made up: by a test double", "",
    ]  # fmt: skip
    (out / "model_info.txt").write_text("\n".join(lines))


def listed(described: dict[str, Any]) -> dict[str, Any]:
    item = {key: described.get(key) for key in ("name", "shape")}
    item |= {"layout": described["format"], "format": described["data_format"]}
    item["type"] = described.get("dtype", "uint8")
    if "quantize" in described:
        values = described["quantize"]
        item["quantization"] = {
            "scheme": described["quantizer"],
            "scale": values["scale"],
            "zero_point": values["zero_point"],
        }
    return item


if __name__ == "__main__":
    main()
