"""What timm knows by name: a model's configuration, its preprocessing, and the model itself.

Only this module calls timm, so the torchvision that timm imports is made importable in one place.
"""

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline.data.preprocess import Preprocess
from pipeline.errors import UsageError
from pipeline.sources.torchvision_ops import make_torchvision_importable

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Configuration:
    """A model as timm publishes it.

    `name` is in full, with the tag of the weights, if there are any. `hub` is the repository of
    those weights and `hub_file` a name of its own for the file, both None if there is none.
    `classifier` is the layer whose weights have a row for every class.
    """

    name: str
    hub: str | None
    hub_file: str | None
    num_classes: int
    classifier: str | None
    license: str | None
    data: dict[str, Any]

    def preprocess(self) -> Preprocess:
        """What the model sees, as `timm.data.resolve_data_config` resolves it for evaluation.

        Raises UsageError for what a `Preprocess` cannot say: an input that is not square or not
        RGB, and a crop that is not a centre crop.
        """
        channels, height, width = self.data["input_size"]
        if channels != 3 or height != width:
            raise self._unsupported(f"takes {channels} x {height} x {width} inputs, not square RGB")
        mode = self.data["crop_mode"]
        if mode != "center":  # "squash" distorts, "border" pads
            raise self._unsupported(f"prepares images by crop mode '{mode}', not by a centre crop")
        try:
            return Preprocess(
                size=height,
                interpolation=self.data["interpolation"],
                crop=self.data["crop_pct"],
                mean=self.data["mean"],
                std=self.data["std"],
            )
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
            raise self._unsupported(f"declares a preprocessing out of bounds ({fields})") from error

    def _unsupported(self, why: str) -> UsageError:
        return UsageError(
            f"timm's {self.name} {why}, which this pipeline cannot do",
            where="model.name",
            hint="choose a model with a square RGB input and a centre crop",
        )


def configuration(name: str) -> Configuration:
    """Look a model up by timm's name, with or without the tag of its weights.

    Without a tag it is the architecture's default weights. Raises UsageError for an unknown name,
    with the nearest ones, and for a model without a classifier.
    """
    make_torchvision_importable()
    import timm
    import timm.data

    data: Any = timm.data
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture) or "/" in name or ":" in name:
        raise _unknown(name, architecture, timm.list_models(), "there is no such model")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the architecture is known, the tag is not
        known = timm.list_models(f"{architecture}.*", pretrained=True)
        raise _unknown(name, name, known, f"{architecture} has no weights '{tag}'") from error
    if config is None or config.num_classes == 0:
        raise UsageError(
            f"timm's {name} is published without a classifier",
            where="model.name",
            hint="choose weights trained for classification",
        )
    layer = config.classifier
    return Configuration(
        name=f"{architecture}.{config.tag}" if config.tag else architecture,
        hub=_repository(config.hf_hub_id, name),
        hub_file=config.hf_hub_filename or None,
        num_classes=config.num_classes,
        classifier=layer[0] if isinstance(layer, list | tuple) else layer,
        license=config.license,
        data=data.resolve_data_config(pretrained_cfg=vars(config)),
    )


def build(name: str, num_classes: int) -> "nn.Module":
    """timm's model of this name with fresh weights drawn from torch's generator, in eval mode.

    Raises UsageError if timm does not know the name or cannot build it.
    """
    configuration(name)
    import timm

    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UsageError(
            f"timm cannot build {name} with {num_classes} classes: {error}", where="model.name"
        ) from error
    return model.eval()


def _repository(declared: str | None, name: str) -> str | None:
    """timm's shorthand for a repository that is called like the model ends in a slash."""
    return f"{declared}{name}" if declared and declared.endswith("/") else declared or None


def _unknown(name: str, meant: str, known: list[str], why: str) -> UsageError:
    near = difflib.get_close_matches(meant, known, n=3, cutoff=0.6) or known[:3]
    hint = f"did you mean {' or '.join(near)}?" if near else "timm publishes no weights for it"
    return UsageError(f"timm does not know '{name}': {why}", where="model.name", hint=hint)
