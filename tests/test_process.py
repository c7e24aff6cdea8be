"""What is recorded about the machine and about the cost of work."""

import platform
import re
import sys
import time
from importlib import metadata

import numpy as np
import pytest

from pipeline.process import cpu_features, environment, measured, version_of


def test_time_and_memory_of_a_piece_of_work() -> None:
    with measured() as before:
        pass
    start = time.perf_counter()
    with measured() as cost:
        block = np.ones(100 << 17)  # 100 MiB, every page of it written
        time.sleep(0.05)
    passed = time.perf_counter() - start
    del block
    assert 0.05 <= cost.seconds <= passed + 0.001
    assert cost.peak_rss_mb >= before.peak_rss_mb + 90


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_the_peak_is_that_of_the_work_not_of_what_was_before() -> None:
    with measured() as large:
        block = np.ones(200 << 17)
    del block
    with measured() as small:
        pass
    if large.peak_rss_mb - small.peak_rss_mb < 100:
        pytest.skip("this container does not let a process reset its peak")
    assert small.peak_rss_mb < large.peak_rss_mb


def test_the_cost_of_work_that_fails_is_measured_too() -> None:
    def fail() -> None:
        with measured() as cost:
            costs.append(cost)
            raise ValueError

    costs: list[object] = []
    with pytest.raises(ValueError):  # noqa: PT011 - our own, without words
        fail()
    assert getattr(costs[0], "peak_rss_mb") > 0  # noqa: B009 - of an object that is only noted


def test_versions() -> None:
    assert version_of("numpy") == np.__version__ == metadata.version("numpy")
    assert version_of("onnx_ir") == version_of("onnx-ir") is not None
    assert version_of("no-such-distribution") is None


def test_the_environment() -> None:
    found = environment(("numpy", "no-such-distribution"), 3)
    assert found["versions"] == {"numpy": np.__version__, "no-such-distribution": None}
    assert (found["threads"], found["python"]) == (3, platform.python_version())
    assert found["cpu_features"] == cpu_features()


@pytest.mark.skipif(sys.platform != "linux", reason="from the kernel's own list")
def test_cpu_features_are_the_kernels() -> None:
    with open("/proc/cpuinfo") as stream:
        line = next(x for x in stream if re.match(r"(flags|Features)\s*:", x))
    flags = set(line.partition(":")[2].split())
    assert set(cpu_features()) <= flags
    assert ("avx2" in cpu_features()) == ("avx2" in flags)
