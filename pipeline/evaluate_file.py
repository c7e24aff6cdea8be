"""`pipeline evaluate`: the accuracy of one model file on labelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, Format
from pipeline.data.preprocess import Preprocess
from pipeline.errors import MissingError, StageError, UsageError
from pipeline.evaluation.model_content import digest_of_model
from pipeline.evaluation.shards import HERE, Engine, engine_missing
from pipeline.process import cores
from pipeline.progress import Silent
from pipeline.recipe import DatasetName
from pipeline.recipe_file import load_recipe
from pipeline.report.terminal import Terminal
from pipeline.store import Store
from pipeline.system_errors import system_errors_explained

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

_FORMATS: dict[str, Format] = {".onnx": "onnx", ".tflite": "tflite", ".synap": "synap"}


def evaluate(
    file: Path,
    data: Path,
    config: Path | None,
    images: int,
    artifacts: Path,
    threads: int,
    label_offset: int | None = None,
    view: str = "model",
    dataset: str = "imagenet",
    engine: Engine = HERE,
) -> dict[str, Any]:
    """The check of one model file on a folder of images, as JSON data; the label offset is the
    recipe's where none is given, and else 0, or 1 for 1001 outputs and ImageNet's classes. Raises
    UsageError, before the images are run, where another model has an output more than there are
    classes and nobody says what it is.

    `view` says who prepares the pictures: the model's own preprocessing, or the `device`, whose
    check then has that of the model's own beside it (`model_view`), and their difference (`gap`).
    """
    import numpy as np

    from pipeline.check.judge import judge
    from pipeline.data.datasets import dataset_named
    from pipeline.data.device_view import DeviceView
    from pipeline.evaluation.evaluator import LOGITS, Evaluator
    from pipeline.recipe import Thresholds
    from pipeline.runners.declared import preprocess_for

    terminal = Terminal()
    missing = engine_missing(engine)
    if missing:
        raise MissingError(missing)
    format = _FORMATS.get(file.suffix.lower())
    if format is None:
        raise UsageError(f"cannot evaluate {file.name}", hint=f"known: {', '.join(_FORMATS)}")
    if not file.is_file():
        raise StageError("there is no such file", where=str(file))
    recipe = None if config is None else load_recipe(config)
    given = None if recipe is None else recipe.recipe.data.preprocess
    preprocess = preprocess_for(file, format, given, terminal.note)
    unsaid = label_offset is None and recipe is None
    explicit = label_offset is not None
    if label_offset is None:
        label_offset = 0 if recipe is None else recipe.recipe.model.label_offset
    store = Store(artifacts.resolve() / ".store", terminal.note)
    samples = _images_in(dataset_named(dataset), data, images, store, terminal)
    artifact = Artifact(file, format, digest_of_model(file, format), file.stat().st_size)
    evaluator = Evaluator(store, threads or cores(), terminal, engine)
    reference = None
    if unsaid:
        with system_errors_explained(f"running {file.name}", store.root.parent):
            label_offset = _likely_offset(artifact, samples, preprocess, evaluator.threads)
        if label_offset:
            terminal.note(
                "1001 outputs for ImageNet's 1000 classes: the first is taken for a background class; "
                "give --label-offset 0 if it is not"
            )

    def check(device: DeviceView | None) -> dict[str, Any]:
        nonlocal reference
        with system_errors_explained(f"running {file.name}", store.root.parent):
            entry = evaluator.outputs(artifact, samples, preprocess, device)
        logits = np.load(entry.path(LOGITS), allow_pickle=False)
        _explain_offset(logits.shape[1], samples, label_offset, explicit, terminal)
        result = judge(
            logits,
            samples.labels() + label_offset,
            before=reference,
            reference=None,
            thresholds=Thresholds(),
            evidence="measured",
        )
        reference = logits
        return result.to_json()

    own = check(None)
    if view == "model":
        return {**own, "preprocess": "model", "label_offset": label_offset}
    terminal.note(
        "pictures that are not RGB are converted first: the program on the board would stop there"
    )
    theirs = check(DeviceView(size=preprocess.size, convert=True))
    gap = own["top1"] - theirs["top1"]
    return {
        **theirs,
        "preprocess": "device",
        "label_offset": label_offset,
        "model_view": own,
        "gap": gap,
    }


def _likely_offset(
    artifact: Artifact, samples: "Samples", preprocess: Preprocess, threads: int
) -> int:
    """What nobody said: by how much the model's outputs lie behind the classes. Its outputs are
    counted on one image; what it answers is not looked at.

    ImageNet's classes with one more are TensorFlow's, with a background in front; of another set
    nothing is known of such a model.
    """
    from pipeline.data.samples import Samples
    from pipeline.evaluation.evaluator import run_on

    first = Samples(samples.name, samples.dataset, samples.items[:1])
    outputs = run_on(artifact, first, preprocess, threads, Silent()).shape[1]
    classes = samples.dataset.class_count
    if outputs != classes + 1:
        return 0
    if samples.dataset.name.startswith("imagenet") and classes == 1000:
        return 1
    raise UsageError(
        f"{outputs} outputs for {classes} classes: whether the first is a background class "
        "has to be said",
        where=str(artifact.path),
        hint="give --label-offset 1 if it is, --label-offset 0 if it is not, "
        "or the model's recipe: --config RECIPE",
    )


def _explain_offset(
    outputs: int, samples: "Samples", offset: int, explicit: bool, terminal: Terminal
) -> None:
    """Refuse an offset beyond the outputs, and tell of a class more than the dataset has, unless
    the command line said what it is."""
    classes = samples.dataset.class_count
    if int(samples.labels().max()) + offset >= outputs:
        raise UsageError(
            f"the model has {outputs} outputs, too few for labels moved by {offset}",
            where="--label-offset",
        )
    if outputs == classes + 1 and offset == 0 and not explicit:
        terminal.note(
            f"the model has {outputs} outputs for {classes} classes: if the first is a background "
            "class, give --label-offset 1"
        )


def _images_in(
    name: DatasetName, folder: Path, count: int, store: Store, terminal: Terminal
) -> "Samples":
    """Every image of a folder, or `count` of them, which are drawn as a recipe draws them."""
    from pipeline.data.datasets import open_dataset
    from pipeline.data.digest_index import DigestIndex
    from pipeline.data.draw import ranked
    from pipeline.data.pool import Pool
    from pipeline.data.samples import Samples

    dataset = open_dataset(name, folder, terminal)
    index = DigestIndex(store.root / "images.json")
    try:
        pool = Pool(dataset, dataset.listing(), index, "stop", terminal)
        chosen = ranked(pool.usable, 0)[: count or None]
        pool.all_decode(chosen)
    finally:
        index.save()
    for note in (*dataset.notes(), *index.notes):
        terminal.note(note)
    return Samples("evaluation", dataset, tuple(chosen))
