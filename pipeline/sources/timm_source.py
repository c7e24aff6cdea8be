"""Source `timm`: weights that timm publishes on the Hugging Face hub, or a file of such a model."""

from pathlib import Path
from typing import Any

from pipeline import recipe
from pipeline.errors import Missing, StageError
from pipeline.process import version_of
from pipeline.progress import Progress
from pipeline.sources import hub
from pipeline.sources.adopt import adopt, digest_of_file, missing_file
from pipeline.sources.hub_errors import HubError
from pipeline.sources.model_folder import ModelDescription, Origin, Published

_RESULTS = "timm, results/results-imagenet.csv (commit aa4b585)"
PUBLISHED: dict[str, Published] = {
    name: Published(dataset="imagenet-1k validation", top1=top1, top5=top5, reference=_RESULTS)
    for name, top1, top5 in (
        ("inception_v4.tf_in1k", 0.80144, 0.94982),
        ("mobilenetv2_100.ra_in1k", 0.72910, 0.91000),
        ("resnet50.tv_in1k", 0.76156, 0.92866),
    )
}
"""What timm measured with the preprocessing of its configurations."""


def missing(model: recipe.Model, weights: Path | None) -> list[Missing]:
    """What a run would lack: the local file, or the hub where its cache has no copy.

    At most one quick look at the hub. timm itself, which takes seconds to import, is asked only
    where the name has no tag or the hub says it knows no such repository; then an unknown name
    raises UsageError.
    """
    if weights is not None:
        return missing_file(weights)
    try:
        if "." in model.name:
            try:
                _look(f"timm/{model.name}", model.revision, hub.FILES)
            except HubError as error:
                if not error.unknown:
                    raise
                _look(*_published_at(model))
        else:
            _look(*_published_at(model))
    except StageError as error:
        return [Missing(f"the weights of {model.name}: {error.what}", error.hint)]
    return []


def identity(model: recipe.Model, weights: Path | None) -> dict[str, Any]:
    """What decides the artifact: the name and revision on the hub, or the local file's content."""
    origin: dict[str, Any] = (
        {"revision": model.revision or "main", "sha256": model.sha256}
        if weights is None
        else {"file": digest_of_file(weights)}
    )
    return {
        "description": 2,
        "source": model.source,
        "name": model.name,
        "num_classes": model.num_classes,
        "timm": version_of("timm"),
        **origin,
    }


def produce(
    model: recipe.Model, weights: Path | None, folder: Path, progress: Progress
) -> ModelDescription:
    """Fetch or read the weights and write the artifact into `folder`.

    Raises UsageError for an unknown name and for a model this pipeline cannot take, StageError for
    everything about the weights.
    """
    from pipeline.sources.timm_models import configuration

    config = configuration(model.name)
    preprocess = config.preprocess()  # refused before a download
    num_classes = model.num_classes or config.num_classes
    if weights is not None:
        return adopt(
            model,
            config,
            weights,
            folder,
            progress,
            num_classes=num_classes,
            preprocess=preprocess,
        )
    repository, revision, files = _published_at(model)
    file = hub.fetch(repository, revision, progress, files)
    return adopt(
        model,
        config,
        file.path,
        folder,
        progress,
        num_classes=num_classes,
        sha256=file.sha256,
        origin=Origin(
            hub=repository, commit=file.commit, file=file.path.name, license=config.license
        ),
        preprocess=preprocess,
        published=PUBLISHED.get(config.name) if model.revision is None else None,
    )


def _look(repository: str, revision: str | None, files: tuple[str, ...]) -> None:
    if not hub.is_cached(repository, revision, files):
        hub.look(repository, revision, files)


def _published_at(model: recipe.Model) -> tuple[str, str | None, tuple[str, ...]]:
    """Repository, revision and possible file names, as timm's configuration has them."""
    from pipeline.sources.timm_models import configuration

    config = configuration(model.name)
    if config.hub is None:
        raise StageError(
            f"timm publishes no weights of {model.name} on the hub",
            where="model.name",
            hint="give a file you have: WEIGHTS=file or --weights file",
        )
    files = (config.hub_file,) if config.hub_file else hub.FILES
    return config.hub, model.revision, files
