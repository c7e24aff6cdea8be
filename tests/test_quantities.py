"""One way of writing numbers."""

import pytest

from pipeline import quantities


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (quantities.percent(0.946032), "94.60 %"),
        (quantities.percent(1.0), "100.00 %"),
        (quantities.confidence(0.95), "95 %"),
        (quantities.confidence(0.975), "97.5 %"),
        (quantities.confidence(1 - 0.001), "99.9 %"),
        (quantities.confidence(0.9999999), "99.99999 %"),
        (quantities.confidence(0.57), "57 %"),
        (quantities.points(0.00634), "+0.63"),
        (quantities.points(-0.00634), "-0.63"),
        (quantities.points(0.0), "0.00"),
        (quantities.points(-0.00004), "0.00"),
        (quantities.size(99_999), "100.0 kB"),
        (quantities.size(41_448_478), "41.4 MB"),
        (quantities.seconds(99.9), "99.9 s"),
        (quantities.seconds(216), "3.6 min"),
        (quantities.seconds(7560), "2.1 h"),
    ],
)
def test_numbers_as_people_read_them(shown: str, text: str) -> None:
    assert shown == text
