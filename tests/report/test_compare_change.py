"""The interval of a change, from what two reports say: never narrower than the paired one."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.check.gate import Paired, drop_interval
from pipeline.report.compare_change import CONFIDENCE, change_interval
from pipeline.report.compare_runs import Numbers

RUN = Numbers(
    images=100, top1=0.9, top1_drop=None, confidence_interval=None, agreement=None, sqnr_db=None,
    flip_rate=0.02, bytes=None, seconds=None, latency_ms=None, verdict="PASS", required=True,
    evidence="measured", reason="", sha256=None,
)  # fmt: skip
CLASSES = st.integers(0, 2)


@settings(deadline=None)
@given(st.lists(st.tuples(CLASSES, CLASSES, CLASSES), min_size=1, max_size=60))
def test_the_paired_interval_is_within_it(images: list[tuple[int, int, int]]) -> None:
    """Predictions of the float model, A and B; class 0 is right."""
    count = len(images)

    def numbers(run: int) -> Numbers:
        right = sum(image[run] == 0 for image in images) / count
        flips = sum(image[run] != image[0] for image in images) / count
        return replace(RUN, images=count, top1=right, flip_rate=flips)

    lost = sum(a == 0 != b for _, a, b in images)
    gained = sum(b == 0 != a for _, a, b in images)
    low, high = drop_interval(Paired(count, lost, gained), CONFIDENCE)
    found = change_interval(numbers(1), numbers(2))
    assert found is not None
    assert found[0] <= -high + 1e-9 and found[1] >= -low - 1e-9


def test_where_only_one_run_flips_it_is_the_paired_one() -> None:
    worse = replace(RUN, top1=0.85, flip_rate=0.05)
    low, high = drop_interval(Paired(100, 5, 0), CONFIDENCE)
    assert change_interval(replace(RUN, flip_rate=0.0), worse) == (-high, -low)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (RUN, replace(RUN, flip_rate=None)),
        (replace(RUN, top1=None), RUN),
        (RUN, replace(RUN, top1=0.5)),
    ],
)
def test_what_leaves_nothing_to_say(a: Numbers, b: Numbers) -> None:
    assert change_interval(a, b) is None
