"""The first stage's accuracy, held against what the model's makers published, where it can be."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.check.published import Circumstances, Figure, foreign_images, judge_published
from pipeline.check.result import Check
from pipeline.data.class_balance import uneven_classes
from pipeline.sources.model_folder import ModelDescription, read_description
from pipeline.stages.stage import Settings

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

_DATASETS = {"imagenet-1k validation": "imagenet"}
"""The recipe's words for what sources call the datasets of their figures."""


def held_to_published(
    check: Check, settings: Settings, model: Path | None, samples: "Samples"
) -> Check:
    """The check with what the published figure says of it, if there is one.

    `model` is the folder of a model that came with a description. A figure is no threshold of the
    recipe: only a measurement that contradicts it makes the check fail.
    """
    description = None if model is None else read_description(model)
    figure = _figure(settings, description)
    if figure is None or check.top1 is None:
        return check
    own = settings.model_input if description is None else description.preprocess
    circumstances = Circumstances(
        dataset=samples.dataset.name,
        changed_weights=_changed(settings, description),
        preprocess=settings.model_input,
        own_preprocess=own,
        foreign_images=foreign_images(figure.dataset, (item.id for item in samples.items)),
        uneven_classes=uneven_classes(samples.items, samples.dataset.class_count),
    )
    verdict, reason = judge_published(
        figure, circumstances, check.images, round(check.top1 * check.images)
    )
    failed = verdict == "FAIL"
    return replace(
        check,
        published=verdict,
        required=check.required or failed,
        verdict="FAIL" if failed else check.verdict,
        reason=f"{check.reason}; {reason}" if check.required else reason,
    )


def _figure(settings: Settings, description: ModelDescription | None) -> Figure | None:
    """The recipe's figure, or else the source's own."""
    given = settings.recipe.recipe.model.published
    if given is not None:
        return Figure(given.top1, given.dataset, given.reference)
    if description is None or description.published is None:
        return None
    found = description.published
    return Figure(found.top1, _DATASETS.get(found.dataset, found.dataset), found.reference)


def _changed(settings: Settings, description: ModelDescription | None) -> str | None:
    """Why the weights are not known to be those of the figure."""
    model = settings.recipe.recipe.model
    if model.source == "mindcv":
        return "MindSpore shrinks images without smoothing them, which is not done here"
    if model.published is None:
        return None  # the source knows them by their digest or their place on the hub
    if model.sha256 is not None or model.sha1 is not None:
        return None  # held by the stage
    if description is not None and description.origin.hub is not None and model.revision is None:
        return None
    return "the weights are a file of which the recipe gives no digest"
