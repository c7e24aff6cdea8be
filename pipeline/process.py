"""What the operating system knows of this process: peak memory, CPU features, versions."""

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

_INT8_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


@dataclass
class Cost:
    """What a piece of work took. `peak_rss_mb` is the process's peak resident memory meanwhile,
    in MiB, what it held before included."""

    seconds: float = 0.0
    peak_rss_mb: float = 0.0


def cores() -> int:
    """Cores this process may use, which a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the body. On Linux the kernel's peak is reset first; elsewhere the peak is the
    process's so far, an upper bound."""
    cost = Cost()
    _reset_peak()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = round(time.perf_counter() - start, 3)
        cost.peak_rss_mb = round(_peak_mb(), 1)


def _reset_peak() -> None:
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return  # a container may forbid it; the peak is then the process's so far


def _peak_mb() -> float:
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def version_of(distribution: str) -> str | None:
    """Installed version of a distribution, without importing it; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def cpu_features() -> list[str]:
    """The instruction sets that matter to INT8 arithmetic, as the kernel names them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    flags: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags.update(value.split())
            break
    return [name for name in _INT8_FEATURES if name in flags]


def environment(distributions: tuple[str, ...], threads: int) -> dict[str, Any]:
    """What a reader needs to repeat the numbers: versions, machine, CPU features, threads."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_features": cpu_features(),
        "threads": threads,
        "versions": {name: version_of(name) for name in distributions},
    }
