"""Find everything a run needs and does not have, before the first long computation."""

import os
import shutil
from pathlib import Path

from pipeline.data.datasets import dataset_missing
from pipeline.errors import Missing
from pipeline.evaluation.shards import engine_missing
from pipeline.job import Job
from pipeline.stages.stage import Settings
from pipeline.synap.handover import Handover

DISK_BYTES = 2 << 30
"""A run of Inception V4 leaves about 0.7 GB behind and holds copies while it writes."""


def find_missing(job: Job, handover: Handover, *, has_weights: bool) -> list[Missing]:
    """All that is missing: weights, images, toolkit, room on the disk.

    `has_weights` says that the store already holds the model, so that its source is not needed.
    """
    recipe = job.recipe.recipe
    settings = Settings(job.recipe, job.weights)
    missing = [] if has_weights else job.stages[0].missing(settings)
    draws = [recipe.data.calibration, recipe.data.selection, recipe.data.evaluation]
    for name in sorted({draw.dataset for draw in draws if draw is not None}):
        missing = [*missing, *dataset_missing(name, job.data)]
    if handover.missing is not None and any(stage.per_target for stage in job.stages):
        missing = [*missing, handover.missing]
    if _uses_board(job) and shutil.which("ssh") is None:
        hint = "install it (Debian: apt-get install openssh-client), or leave `device` out"
        missing = [*missing, Missing("the OpenSSH client, which the recipe's device needs", hint)]
    missing = [*missing, *engine_missing(job.engine)]
    disk = _disk(job.artifacts)
    if disk is not None:
        missing = [*missing, disk]
    return missing


def _uses_board(job: Job) -> bool:
    device = job.recipe.recipe.device
    compiled = any(stage.per_target for stage in job.stages)
    return compiled and device is not None and device.target in {t.name for t in job.targets}


def _disk(folder: Path) -> Missing | None:
    # Not Path.exists, which raises where a folder above may not be entered.
    while not os.path.exists(folder):
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free >= DISK_BYTES:
        return None
    return Missing(
        f"room on the disk: {free / 2**30:.1f} GiB free in {folder}, {DISK_BYTES / 2**30:.0f} needed",
        "make room, or put the results elsewhere with --artifacts FOLDER",
    )
