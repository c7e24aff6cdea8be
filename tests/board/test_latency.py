import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.board.latency import latency_of


def test_of_twenty() -> None:
    times = np.array([100.0, *range(1, 20)])
    latency = latency_of(times)
    assert latency.median == 10.5
    assert latency.mean == (100 + 190) / 20
    assert latency.p95 == 19.0  # 19 of 20 images take no longer


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60))
def test_the_95th_percentile_is_the_smallest_that_95_of_100_do_not_exceed(
    times: list[float],
) -> None:
    p95 = latency_of(np.array(times)).p95
    assert p95 in times
    assert sum(time <= p95 for time in times) * 100 >= 95 * len(times)
    assert sum(time < p95 for time in times) * 100 < 95 * len(times)


def test_of_none() -> None:
    with pytest.raises(ValueError, match="no times"):
        latency_of(np.array([]))
