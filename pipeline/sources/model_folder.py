"""The artifact of the `weights` stage: a folder with `model.safetensors` and `model.json`.

The description says everything that is needed to build the model again and to prepare images for
it, and where the weights came from. Reading it imports neither torch nor timm.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.artifact import atomic_path, write_text
from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.recipe import SourceName, TrainOptions

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
_REPEAT = "delete the folder and run again; the stage makes it anew"


class Origin(BaseModel):
    """Where the weights came from: the hub, a file, or a training here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub: str | None = None
    """Repository on the hub."""
    commit: str | None = None
    """Commit of the repository that was taken."""
    file: str | None = None
    """Name of the weights file, without its folder."""
    training: TrainOptions | None = None
    """How the model was trained, when it was trained here."""
    license: str | None = None
    """Of the published weights, as their source declares it."""


class Published(BaseModel):
    """What its makers measured of a model. Accuracies are fractions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    top1: Annotated[float, Field(ge=0.0, le=1.0)]
    top5: Annotated[float, Field(ge=0.0, le=1.0)]
    reference: str
    """Where the numbers stand."""


class ModelDescription(BaseModel):
    """What a folder holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    architecture: str
    """timm's name, as `timm.create_model` takes it."""
    num_classes: Annotated[int, Field(ge=1)]
    preprocess: Preprocess
    """What the model was made to see; a recipe may say otherwise."""
    source: SourceName
    origin: Origin
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Digest of the original weights file; None when the model was trained here."""
    parameters: Annotated[int, Field(ge=1)]
    """Number of trainable values."""
    label_offset: Annotated[int, Field(ge=0)] = 0
    """Output of the model for the first class of the dataset."""
    published: Published | None = None


def save_model(folder: Path, model: "nn.Module", description: ModelDescription) -> None:
    """Write the model's tensors and the description; each file appears whole or not at all.

    Raises StageError if the disk does not take them.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Copies in the usual layout: training may leave channels-last tensors, and safetensors refuses
    # tensors that share memory.
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    try:
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
        write_text(folder / DESCRIPTION, description.model_dump_json(indent=1) + "\n")
    except (OSError, SafetensorError) as error:
        raise StageError(
            f"the model could not be written: {error}",
            where=str(folder),
            hint="make room on the disk, or make the folder writable",
        ) from error


def load_model(folder: Path) -> "nn.Module":
    """The model of a folder with its weights, in eval mode, on the CPU.

    Raises StageError if a file is absent, damaged, or does not belong to the other.
    """
    from pipeline.sources.timm_models import build
    from pipeline.sources.weights_file import load_into, read_weights

    description = read_description(folder)
    model = build(description.architecture, description.num_classes)
    path = folder / WEIGHTS
    load_into(model, read_weights(path), str(path))
    return model.eval()


def read_description(folder: Path) -> ModelDescription:
    """The description of a folder. Raises StageError if it is absent or damaged."""
    path = folder / DESCRIPTION
    try:
        return ModelDescription.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StageError(
            f"the model's description cannot be read: {error.strerror}",
            where=str(path),
            hint=_REPEAT,
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StageError(
            f"the model's description is damaged: {place + ': ' if place else ''}{first['msg']}",
            where=str(path),
            hint=_REPEAT,
        ) from error
