"""Write `report.html`, made again only when something that it shows, or its form, has changed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path, publish
from pipeline.engine import TargetResult
from pipeline.job import Job
from pipeline.process import version_of
from pipeline.progress import Progress
from pipeline.report.html.page import PAGE, STYLE, TEMPLATES
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets
    from pipeline.data.samples import Samples

VERSION = 3
"""Raised whenever the same run would be shown in another way; templates have digests of their own."""
FILE = "report.html"
TOOLS = ("jinja2", "matplotlib", "pillow")


def write_report(
    job: Job,
    result: TargetResult,
    report: Mapping[str, Any],
    samples: "SampleSets",
    store: Store,
    progress: Progress,
    folder: Path,
) -> Path:
    """Put the run's page into `folder`; `report` is what `report.json` has. Its path.

    Raises PipelineError where a result that the page shows cannot be read.
    """
    fields = {
        "version": VERSION,
        "templates": [digest_of_path(TEMPLATES / name) for name in (PAGE, STYLE)],
        "report": _lasting(report),
        "checks": job.recipe.recipe.checks.model_dump(mode="json"),
        "label_offset": job.recipe.recipe.model.label_offset,
        "names": _names_digest(samples.evaluation),
        "tools": {name: version_of(name) for name in TOOLS},
    }

    def build(made: Path) -> Mapping[str, Any]:
        from pipeline.report.html.gather import gather
        from pipeline.report.html.page import render_page

        page = render_page(gather(job, result, report, samples, store, progress))
        (made / FILE).write_text(page, encoding="utf-8")
        return {}

    entry = store.get("report", fields, build)
    path = folder / FILE
    if not path.is_file() or digest_of_path(path) != entry.sha256(FILE):
        publish(entry.path(FILE), path)
    return path


def _names_digest(samples: "Samples") -> str:
    """The page shows names of classes and images, which `Samples.digest` leaves out."""
    from pipeline.data.class_names import own_class_names

    names = [own_class_names(samples.dataset), [sample.id for sample in samples.items]]
    return hashlib.sha256(json.dumps(names).encode("ascii")).hexdigest()


def _lasting(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without what differs between two runs that found the same: which of its results
    were in the store already."""
    stages = [{k: v for k, v in stage.items() if k != "cached"} for stage in report["stages"]]
    return {**report, "stages": stages}
