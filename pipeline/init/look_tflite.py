"""Look at a TFLite file, float or quantized: it is read as a run would read it."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.errors import StageError, UsageError
from pipeline.init.ask import Ask
from pipeline.init.findings import ModelFindings, View
from pipeline.init.view import DECLARED, completed, notes_of_deviation


def look_at_tflite(path: Path, ask: Ask | None) -> ModelFindings:
    """Raises StageError for what a run could not take, in the run's words."""
    from pipeline.inspect.content import read_content
    from pipeline.inspect.tflite_file import tflite_contents
    from pipeline.lift.integer_ends import with_integer_ends

    content = read_content(path)
    found = tflite_contents(content, str(path))
    first_class = next(iter(found.class_names), None)
    assert found.quantization is not None, "TFLite files have one"
    if found.quantization.kind != "quantized":
        return replace(_look_at_float(content, path, ask), first_class=first_class)
    integers = with_integer_ends(content, str(path))
    looked = _look_at_quantized(integers, found.quantization.scheme, path, ask)
    return replace(looked, first_class=first_class)


def _look_at_float(content: bytes, path: Path, ask: Ask | None) -> ModelFindings:
    from pipeline.graph.file import input_size
    from pipeline.init.float_graph import bring
    from pipeline.lift.operators import lift_tflite
    from pipeline.runners.tflite_declared import own_preprocess, tflite_preprocess
    from pipeline.stages.import_tflite import content_of_kind

    where = str(path)
    content_of_kind(path, "float")  # refuses one with integer weights
    lifted = lift_tflite(content, where)
    size = _square(input_size(lifted, where), where)
    graph = bring(lifted, size, where)
    own = own_preprocess(path)
    feeds: Normalization | None = graph.feeds
    origin = graph.origin
    if own is None and feeds is None:
        try:
            feeds = _rounded(tflite_preprocess(path, None, lambda text: None).normalization)
            origin = "The file's metadata say its mean and std."
        except UsageError:
            origin = "The file's metadata do not say its mean and std."
    return ModelFindings(
        source="tflite",
        name=path.stem,
        file=path,
        description=f"a float TFLite file, {len(content) / 1e6:.2f} MB",
        outputs=graph.outputs,
        view=View(own, DECLARED) if own else completed(origin, size, feeds, graph.outputs, ask),
        depthwise=graph.facts.depthwise,
        npu=graph.facts.npu,
        notes=graph.notes,
    )


def _look_at_quantized(
    content: bytes, scheme: str | None, path: Path, ask: Ask | None
) -> ModelFindings:
    from pipeline.init.npu import npu_of_tflite
    from pipeline.lift.quantized import read_quantized
    from pipeline.runners.tflite_declared import own_preprocess

    model = read_quantized(content, str(path))
    size = _square(model.size, str(path))
    own = own_preprocess(path)
    if own is not None:
        view = View(own, DECLARED)
    else:
        try:
            feeds = _rounded(_declared(content, path.name).normalization)
            origin = _origin(content, feeds, str(path))
        except UsageError as error:
            feeds, origin = None, f"The file {error.what}."
        view = completed(origin, size, feeds, model.classes, ask, one_deviation=True)
    cautions = (f"Caution: {said}." for said in model.cautions(view.preprocess.normalization))
    return ModelFindings(
        source="quantized-tflite",
        name=path.stem,
        file=path,
        description=f"a quantized TFLite file, {len(content) / 1e6:.2f} MB",
        outputs=model.classes,
        view=view,
        quantized=f"{model.input.dtype}{f', {scheme}' if scheme else ''}",
        npu=npu_of_tflite(model.operators),
        notes=(*cautions, *notes_of_deviation(view)),
    )


def _declared(content: bytes, name: str) -> Preprocess:
    """What a model says that is to run as it is here, not as it is in the user's file."""
    from pipeline.runners.tflite_declared import tflite_preprocess

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        return tflite_preprocess(file, None, lambda text: None)


def _origin(content: bytes, feeds: Normalization, where: str) -> str:
    """Whether the metadata say this normalization, or only the input's integers, in a sentence."""
    from pipeline.inspect.tflite_file import tflite_contents

    image = tflite_contents(content, where).inputs[0]
    declared = tuple(_digits(n / 255 for n in it * 3)[:3] for it in (image.means, image.deviations))
    if declared == (feeds.mean, feeds.std):
        return "The file's metadata say its mean and std."
    beside = ", not quite those of the metadata" if image.means else ""
    return f"Mean and std are those by which its input's integers are the picture's bytes{beside}."


def _rounded(exact: Normalization) -> Normalization:
    mean, std = _digits(exact.mean), _digits(exact.std)
    return Normalization.model_validate({"mean": mean, "std": std})


def _digits(numbers: Iterable[float]) -> tuple[float, ...]:
    """To six digits, as people write them: far less than a step of 8 bits."""
    return tuple(float(f"{number:.6g}") for number in numbers)


def _square(size: tuple[int, int], where: str) -> int:
    if size[0] != size[1]:
        raise StageError(
            f"its input is {size[0]}x{size[1]}, but data.preprocess gives squares only", where=where
        )
    return size[0]
