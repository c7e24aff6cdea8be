"""What the gate found, as plain values."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.errors import UsageError
from pipeline.recipe import FRACTION_LIMIT

Quantity = Literal["stage", "top1", "top1_drop", "bytes", "seconds", "latency_ms"]
RowVerdict = Literal["PASS", "FAIL", "SKIPPED"]
GateVerdict = Literal["PASS", "FAIL", "REFUSED"]
EXIT_CODES: dict[GateVerdict, int] = {"PASS": 0, "FAIL": 1, "REFUSED": 2}


@dataclass(frozen=True)
class Limits:
    """How much worse something may be. Losses are fractions of the images, ratios are new to old."""

    max_top1_loss: float = 0.005
    max_drop_rise: float = 0.005
    max_size_ratio: float = 1.1
    max_time_ratio: float = 2.0
    max_latency_ratio: float = 1.1

    def __post_init__(self) -> None:
        for name in ("max_top1_loss", "max_drop_rise"):
            if not 0.0 <= getattr(self, name) <= FRACTION_LIMIT:  # false for NaN
                raise UsageError(
                    f"{getattr(self, name):g} is not from 0 to {FRACTION_LIMIT:g}",
                    where=f"--{name.replace('_', '-')}",
                    hint="a fraction of the images: half a point is 0.005",
                )
        for name in ("max_size_ratio", "max_time_ratio", "max_latency_ratio"):
            if not 1.0 <= getattr(self, name) <= 1e6:
                raise UsageError(
                    f"{getattr(self, name):g} is not 1 or more",
                    where=f"--{name.replace('_', '-')}",
                    hint="how many times the baseline's: 1.1 lets it grow by a tenth",
                )


@dataclass(frozen=True)
class Row:
    """One comparison: a quantity of a stage in the baseline and now, and the verdict on it.

    `top1` and `top1_drop` are fractions; `bytes` and `seconds` of the stage's artifact,
    `latency_ms` of an image on a board. `limit` is
    the allowed loss or ratio, 0 where every loss counts. `quantity` is `stage` where the stage as
    a whole is missing or new; the numbers are then its artifact's bytes.
    """

    stage: str
    quantity: Quantity
    baseline: float | None
    now: float | None
    limit: float | None
    verdict: RowVerdict
    reason: str


@dataclass(frozen=True)
class Difference:
    """Something in which the report and the baseline are not alike."""

    what: str
    baseline: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.baseline} in the baseline, {self.now} now"


@dataclass(frozen=True)
class GateResult:
    """The whole outcome. `refused` is why nothing was compared, where nothing was; `notes` are
    other circumstances that changed, which may explain a row."""

    recipe: str
    target: str | None
    baseline: str
    accepted: bool
    rows: tuple[Row, ...]
    refused: tuple[Difference, ...]
    notes: tuple[Difference, ...]

    @property
    def verdict(self) -> GateVerdict:
        """REFUSED where unlike things were given, FAIL where anything is worse."""
        if self.refused:
            return "REFUSED"
        return "FAIL" if any(row.verdict == "FAIL" for row in self.rows) else "PASS"

    @property
    def exit_code(self) -> int:
        """0, 1 or 2."""
        return EXIT_CODES[self.verdict]

    @property
    def title(self) -> str:
        """What was compared, in words."""
        return self.recipe if self.target is None else f"{self.recipe} for {self.target}"

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        failed = sum(row.verdict == "FAIL" for row in self.rows)
        outcome = {
            "PASS": "no regression",
            "FAIL": "1 regression" if failed == 1 else f"{failed} regressions",
            "REFUSED": "not compared",
        }[self.verdict]
        return f"{self.title}: {'accepted as the baseline' if self.accepted else outcome}"

    def to_json(self) -> dict[str, Any]:
        """The same as JSON data, with the verdict in it."""
        return {"verdict": self.verdict, **asdict(self)}
