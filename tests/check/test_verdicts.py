"""Verdicts are kept under keys of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.check.verdicts import judge_stored
from pipeline.recipe import Thresholds
from pipeline.store import Entry, Store


class Images:
    """What judging asks of a set of images."""

    digest = "d" * 64

    def labels(self) -> NDArray[np.int64]:
        return np.arange(100) % 10


class Kept:
    def __init__(self, root: Path) -> None:
        self.store = Store(root, lambda text: None)

    def logits(self, seed: int) -> Entry:
        def build(folder: Path) -> Mapping[str, Any]:
            random = np.random.default_rng(seed)
            np.save(folder / "logits.npy", random.normal(size=(100, 10)).astype(np.float32))
            return {}

        return self.store.get("outputs", {"seed": seed}, build)

    def judge(
        self,
        logits: Entry,
        before: Entry,
        reference: Entry,
        label_offset: int = 0,
        anytime: bool = False,
        **thresholds: Any,
    ) -> Any:
        images: Any = Images()
        ours = (logits,)
        return judge_stored(
            self.store, images, logits=ours, before=(before,),
            reference=ours if reference is logits else (reference,),
            thresholds=Thresholds(**thresholds), evidence="measured", file="logits.npy",
            label_offset=label_offset, anytime=anytime,
        )  # fmt: skip

    @property
    def verdicts(self) -> int:
        return len(list((self.store.root / "verdicts").glob("*/entry.json")))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_the_stored_check_is_the_check(kept: Kept) -> None:
    one, two = kept.logits(1), kept.logits(2)
    first = kept.judge(one, two, two, max_top1_drop=0.1)
    second = kept.judge(one, two, two, max_top1_drop=0.1)
    assert first == second
    assert isinstance(second.confidence_interval, tuple)
    assert kept.verdicts == 1


def test_whatever_enters_a_verdict_is_in_its_key(kept: Kept) -> None:
    one, two, three = (kept.logits(seed) for seed in range(3))
    arguments: list[tuple[Entry, Entry, Entry, dict[str, float]]] = [
        (one, two, two, {"max_top1_drop": 0.1}),
        (one, two, two, {"max_top1_drop": 0.2}),
        (one, two, two, {"max_top1_drop": 0.1, "confidence": 0.9}),
        (one, two, three, {"max_top1_drop": 0.1}),
        (one, three, two, {"max_top1_drop": 0.1}),
        (three, two, two, {"max_top1_drop": 0.1}),
    ]
    for logits, before, reference, thresholds in arguments:
        kept.judge(logits, before, reference, **thresholds)
    assert kept.verdicts == len(arguments)
    kept.judge(one, two, two, anytime=True, max_top1_drop=0.1)
    assert kept.verdicts == len(arguments) + 1


def test_parts_are_judged_as_one(kept: Kept) -> None:
    """What was computed in two parts is judged as if it had been one."""
    whole = {seed: kept.logits(seed) for seed in (1, 2)}

    def half(seed: int, start: int) -> Entry:
        def build(folder: Path) -> Mapping[str, Any]:
            logits = np.load(whole[seed].path("logits.npy"))
            np.save(folder / "logits.npy", logits[start : start + 50])
            return {}

        return kept.store.get("outputs", {"seed": seed, "start": start}, build)

    halves = {seed: (half(seed, 0), half(seed, 50)) for seed in (1, 2)}
    images: Any = Images()
    check = judge_stored(
        kept.store, images, logits=halves[1], before=halves[2], reference=halves[2],
        thresholds=Thresholds(max_top1_drop=0.1), evidence="measured", file="logits.npy", label_offset=0,
    )  # fmt: skip
    assert check == kept.judge(whole[1], whole[2], whole[2], max_top1_drop=0.1)


def test_a_label_offset_moves_the_labels_and_is_in_the_key(kept: Kept) -> None:
    one = kept.logits(1)
    logits = np.load(one.path("logits.npy"))
    for offset in (0, 1):
        labels = np.arange(100) % 9 + offset
        images: Any = Images()
        images.labels = lambda: np.arange(100) % 9
        check = judge_stored(
            kept.store, images, logits=(one,), before=None, reference=None, thresholds=Thresholds(),
            evidence="measured", file="logits.npy", label_offset=offset,
        )  # fmt: skip
        assert check.top1 == pytest.approx((logits.argmax(1) == labels).mean())
    assert kept.verdicts == 2


def test_a_stored_verdict_reads_no_logits(kept: Kept) -> None:
    one, two = kept.logits(1), kept.logits(2)
    first = kept.judge(one, two, two, min_top1=0.9)
    for entry in (one, two):
        entry.path("logits.npy").unlink()
    assert kept.judge(one, two, two, min_top1=0.9) == first


def test_the_reference_is_compared_with_the_stage_before_only(kept: Kept) -> None:
    one, two = kept.logits(1), kept.logits(2)
    check = kept.judge(one, two, one)
    assert (check.top1_drop, check.confidence_interval) == (0.0, None)
    assert check.step_drop is not None
