"""`make bench`: cost of calibration, ours beside others', as ratios to a float pass, the time of an
image in every rendering, and the throughput of an evaluation beside that of the bare session.

Every subject runs in a process of its own with a memory limit, right after a float pass over the
same images in the same kind of process. Prints a table and writes `artifacts/bench.json`.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks import inference, throughput
from pipeline.artifact import write_text

FOLDER = Path("artifacts/.bench")
RESULTS = Path("artifacts/bench.json")
PEERS = ("onnxruntime-minmax", "onnxruntime-percentile")


@dataclass(frozen=True)
class Row:
    """One figure of one subject. `value` is None where the subject gave none; `note` says why."""

    name: str
    subject: str
    images: int
    value: float | None
    unit: str
    per: str
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a subject's process ended: its seconds, the peak of its resident memory in MB."""

    seconds: float | None
    peak_mb: float
    note: str
    bare_seconds: float | None = None
    """What the same took without what is around it, where that was measured beside it."""


def run_subject(
    subject: str, images: int, threads: int, limit_gb: float, module: str = "benchmarks.calibration"
) -> Outcome:
    """Run one subject in its own process, and look at what it took when it is over."""
    argv = [
        sys.executable, "-m", module, subject, str(images), str(threads),
        str(limit_gb), str(FOLDER),
    ]  # fmt: skip
    log = FOLDER / f"{subject}-{images}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss / 1000
    if process.returncode == 0:
        figures = json.loads(printed.splitlines()[-1])
        return Outcome(float(figures["seconds"]), peak, "", figures.get("bare_seconds"))
    text = log.read_text(errors="replace")
    if "MemoryError" in text or "bad_alloc" in text or "Failed to allocate" in text:
        return Outcome(None, peak, f"out of memory at {images} images (limit {limit_gb:g} GB)")
    last = text.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
    return Outcome(None, peak, f"failed: {last[0][:80]}")


def prepare_apart(module: str, *arguments: int) -> None:
    """Run `prepare` of a module in a process of its own: a child's peak memory counts what its
    parent held when it was started, so this process has to stay small."""
    call = ", ".join(map(str, (f"Path({str(FOLDER)!r})", *arguments)))
    code = f"from pathlib import Path; from {module} import prepare; prepare({call})"
    subprocess.run([sys.executable, "-c", code], check=True)


def inference_rows(threads: int, limit_gb: float) -> list[Row]:
    """Milliseconds of an image, one at a time."""
    prepare_apart("benchmarks.inference", threads)
    rows, images = [], inference.IMAGES
    print(f"\n{'':>6}  {'one image at a time':<24}{'ms':>13}{'peak MB':>10}", flush=True)
    for subject in inference.SUBJECTS:
        outcome = run_subject(subject, images, threads, limit_gb, "benchmarks.inference")
        value = None if outcome.seconds is None else round(1000 * outcome.seconds / images, 1)
        rows.append(Row("inference_time", subject, images, value, "ms", "image", outcome.note))
        shown = outcome.note or f"{value:>13.1f}{outcome.peak_mb:>10.0f}"
        print(f"{'':>6}  {subject:<24}{shown}", flush=True)
    return rows


def throughput_rows(threads: int, limit_gb: float) -> list[Row]:
    """Throughput of an evaluation from JPEG files, as part of the bare session's."""
    images = throughput.IMAGES
    prepare_apart("benchmarks.inference", threads)
    prepare_apart("benchmarks.throughput", images)
    rows = []
    print(f"\n{'images':>6}  {'evaluation':<24}{'of the bare':>13}{'images/s':>10}", flush=True)
    for subject in throughput.SUBJECTS:
        outcome = run_subject(subject, images, threads, limit_gb, "benchmarks.throughput")
        if outcome.seconds is None or outcome.bare_seconds is None:
            part, note = None, outcome.note
            shown = note
        else:
            part = round(outcome.bare_seconds / outcome.seconds, 3)
            a_second = images / outcome.seconds
            note = f"{a_second:.1f} images/s"
            shown = f"{part:>13.1%}{a_second:>10.1f}"
        unit = "of the bare session's throughput"
        rows.append(Row("evaluation_throughput", subject, images, part, unit, "evaluation", note))
        print(f"{images:>6}  {subject:<24}{shown}", flush=True)
    return rows


def sequential_rows() -> list[Row]:
    """Part of the images that a verdict after every batch saves against a fixed number."""
    from benchmarks.sequential import FIXED, LIMIT, savings

    print(f"\n{'lost':>6}{'gained':>8}  images saved against {FIXED}", flush=True)
    rows = []
    for saving in savings():
        subject = f"lost {saving.lost:.3f}, gained {saving.gained:.3f}"
        saved = round(saving.saved, 3)
        rows.append(
            Row("images_saved", subject, FIXED, saved, "fraction", "verdict", f"limit {LIMIT:g}")
        )
        print(f"{saving.lost:>6.1%}{saving.gained:>8.1%}  {saving.saved:>6.0%}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit-gb", type=float, default=12.0, help="memory limit of a subject")
    options = parser.parse_args()
    prepare_apart("benchmarks.inception", max(options.images))
    subjects = ["ours", "ours-quantize", *PEERS, *(["nncf"] if find_spec("nncf") else [])]
    rows: list[Row] = []
    print(f"{'images':>6}  {'subject':<24}{'float passes':>13}{'peak MB':>10}", flush=True)
    for images in options.images:
        for subject in subjects:
            base = run_subject("float", images, options.threads, options.limit_gb)
            outcome = run_subject(subject, images, options.threads, options.limit_gb)
            ratio = (
                None
                if outcome.seconds is None or base.seconds is None
                else round(outcome.seconds / base.seconds, 2)
            )
            rows += [
                Row("calibration_time", subject, images, ratio, "float passes", "run", outcome.note),
                Row("calibration_peak_memory", subject, images,
                    None if outcome.seconds is None else round(outcome.peak_mb), "MB", "process",
                    outcome.note),
            ]  # fmt: skip
            shown = outcome.note or f"{ratio:>13.2f}{outcome.peak_mb:>10.0f}"
            print(f"{images:>6}  {subject:<24}{shown}", flush=True)
    rows += inference_rows(options.threads, options.limit_gb)
    rows += throughput_rows(options.threads, options.limit_gb)
    rows += sequential_rows()
    write_text(RESULTS, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"written to {RESULTS}; {options.threads} threads")


if __name__ == "__main__":
    main()
