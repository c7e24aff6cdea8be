"""The check of the first stage: its accuracy is held against what the model's makers published, where
it can be.

With `images: auto` it then looks at as many images as that takes. What the figure is held to is the
accuracy on just those: where `min_top1` goes on to more, it stops by what the model answers.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.check.published import (
    Circumstances,
    Figure,
    foreign_images,
    images_to_hold,
    judge_published,
    why_not_held,
)
from pipeline.check.result import Check
from pipeline.data.class_balance import uneven_classes
from pipeline.data.imagenet import Imagenet
from pipeline.evaluation.evaluator import Evaluator, right_answers
from pipeline.evaluation.looks import Looks, Outputs
from pipeline.evaluation.stage_check import Made, check_stage
from pipeline.sources.model_folder import ModelDescription, read_description
from pipeline.stages.stage import Settings

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

_DATASETS = {"imagenet-1k validation": "imagenet"}
"""The recipe's words for what sources call the datasets of their figures."""


def check_first_stage(
    made: Made, settings: Settings, model: Path | None, looks: Looks, evaluator: Evaluator
) -> tuple[Outputs | None, Check]:
    """`check_stage`, with what the published figure says of it, if there is one.

    `model` is the folder of a model that came with a description. A figure is no threshold of the
    recipe: only a measurement that contradicts it makes the check fail.
    """
    description = None if model is None else read_description(model)
    figure = _figure(settings, description)
    if figure is None:
        return check_stage(made, settings, {}, looks, evaluator)
    circumstances = _circumstances(figure, settings, description, looks.samples)
    held = why_not_held(figure, circumstances) is None
    parts = looks.parts_with(images_to_hold(figure)) if held else 1
    outputs, check = check_stage(made, settings, {}, looks, evaluator, parts)
    if outputs is None:
        return outputs, check
    samples = looks.first(parts)
    labels = samples.labels() + settings.recipe.recipe.model.label_offset
    correct = int(right_answers(outputs.first(parts), labels).sum())
    verdict, reason = judge_published(figure, circumstances, len(samples), correct)
    failed = verdict == "FAIL"
    return outputs, replace(
        check,
        published=verdict,
        required=check.required or failed,
        verdict="FAIL" if failed else check.verdict,
        reason=f"{check.reason}; {reason}" if check.required else reason,
    )


def _circumstances(
    figure: Figure,
    settings: Settings,
    description: ModelDescription | None,
    samples: "Samples",
) -> Circumstances:
    dataset = samples.dataset
    drawn_from = (
        samples.items if settings.recipe.recipe.data.evaluation.manifest else dataset.listing()
    )
    by_real = isinstance(dataset, Imagenet) and dataset.labelled_by_real
    return Circumstances(
        dataset=dataset.name,
        changed_weights=_changed(settings, description),
        preprocess=settings.model_input,
        own_preprocess=settings.model_input if description is None else description.preprocess,
        foreign_images=foreign_images(figure.dataset, (item.id for item in samples.items)),
        uneven_classes=uneven_classes(drawn_from, dataset.class_count),
        other_labels="the images have ReaL labels, with which accuracies are higher"
        if by_real
        else None,
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
