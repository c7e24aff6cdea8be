"""Look at a timm name, or at a weights file for an architecture of timm's or MindCV's."""

import re
import tempfile
from pathlib import Path
from typing import Literal

from pipeline import recipe
from pipeline.errors import MissingError, StageError, UsageError
from pipeline.init.ask import Ask
from pipeline.init.findings import ModelFindings, View
from pipeline.init.npu import facts_of_module
from pipeline.progress import Silent

_TORCH = (b"PK\x03\x04", b"\x80\x02")


def look_at_name(name: str) -> ModelFindings:
    """A model that timm publishes; its weights are not fetched.

    Raises UsageError for a name that timm does not know and a model that cannot be taken, StageError
    where timm has no weights for it.
    """
    from pipeline.sources.adopt import count_parameters
    from pipeline.sources.timm_models import build, configuration

    config = configuration(name)
    preprocess = config.preprocess()
    if config.hub is None:
        raise StageError(
            f"timm publishes no weights of {name} on the hub",
            where="model.name",
            hint=f"give a file you have: pipeline init FILE --arch {name}",
        )
    model = build(config.name, config.num_classes)
    facts = facts_of_module(model, preprocess.size)
    return ModelFindings(
        source="timm",
        name=config.name,
        file=None,
        description=f"timm's {config.name}, {_millions(count_parameters(model))} parameters",
        outputs=config.num_classes,
        view=View(preprocess, "The model's own, as timm declares it.", own=True),
        depthwise=facts.depthwise,
        npu=facts.npu,
    )


def look_at_checkpoint(path: Path, arch: str | None, ask: Ask | None) -> ModelFindings:
    """A file of tensors, or a MindCV checkpoint; read as the `weights` stage reads it.

    Raises what that does, and UsageError where the file's architecture is not known.
    """
    if path.suffix.lower() == ".ckpt" and _head(path) not in _TORCH:
        return _taken("mindcv", arch or "inception_v4", path)
    if arch is None:
        from pipeline.sources.weights_file import read_weights

        read_weights(path)  # a file that is no weights file is not asked what it is
        arch = _architecture(path, ask)
    return _taken("checkpoint", arch, path)


def _taken(source: Literal["checkpoint", "mindcv"], arch: str, path: Path) -> ModelFindings:
    from pipeline.sources import SOURCES
    from pipeline.sources.model_folder import load_model

    wanted, progress = recipe.Model(source=source, name=arch), Silent()
    missing = SOURCES[source].missing(wanted, path)
    if missing:
        raise MissingError(missing)
    with tempfile.TemporaryDirectory() as folder:
        found = SOURCES[source].produce(wanted, path, Path(folder), progress)
        facts = facts_of_module(load_model(Path(folder)), found.preprocess.size)
    maker = "MindCV's" if source == "mindcv" else "a checkpoint of timm's"
    return ModelFindings(
        source=source,
        name=arch,
        file=path,
        description=f"{maker} {arch}, {_millions(found.parameters)} parameters",
        outputs=found.num_classes,
        view=View(found.preprocess, "MindCV's own, as its source declares it.", own=True)
        if source == "mindcv"
        else View(
            found.preprocess,
            f"What timm prepares images for {arch} with; a checkpoint that was trained otherwise "
            "wants its own.",
        ),
        depthwise=facts.depthwise,
        npu=facts.npu,
        notes=tuple(progress.notes),
    )


def _architecture(path: Path, ask: Ask | None) -> str:
    near = _by_file_name(path)
    if ask is None:
        meant = f"; by its name it may be {near}" if near else ""
        raise UsageError(
            "tensors do not say of which architecture they are",
            where=str(path),
            hint=f"give timm's name of it: --arch NAME{meant}",
        )
    return ask("timm's name of its architecture", near, _known_architecture)


def _known_architecture(answer: str) -> str:
    from pipeline.sources.timm_models import configuration

    try:
        configuration(answer)
    except UsageError as error:
        raise ValueError(f"{error.what}; {error.hint}") from None
    return answer


def _by_file_name(path: Path) -> str:
    """timm's longest name that the file's name begins with; empty if none does."""
    from pipeline.sources.torchvision_ops import make_torchvision_importable

    make_torchvision_importable()
    import timm

    stem = re.sub(r"[^a-z0-9]+", "_", path.name.lower())
    fitting = [name for name in timm.list_models() if f"{stem}_".startswith(f"{name}_")]
    return max(fitting, key=len, default="")


def _head(path: Path) -> bytes:
    """What its form can be told by; nothing where it cannot be read, which its reader says."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError:
        return b""
    return next((form for form in _TORCH if head.startswith(form)), head)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
