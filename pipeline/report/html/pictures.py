"""Crops as small pictures inside the page, and what models predicted for them."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.dataset import BrokenImage
from pipeline.report.html.view import Absent, Flip, Flips, Ranked, Sight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.preprocess import Preprocess
    from pipeline.data.samples import Sample, Samples, View

SIDE = 112
"""Pixels of a thumbnail."""
FLIPS = 12
SIGHTS = 3
TOP = 5
_KINDS = ("lost", "gained", "changed")


def data_uri(crop: "NDArray[np.uint8]") -> str:
    """A crop `uint8 [H, W, 3]` as a thumbnail: PNG or JPEG, whichever is smaller."""
    from PIL import Image

    image = Image.fromarray(crop)
    if max(image.size) > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    stored = []
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 80})):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        stored.append((kind, stream.getvalue()))
    kind, content = min(stored, key=lambda item: len(item[1]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def flips_of(
    stage: str,
    before: "NDArray[np.float32]",
    after: "NDArray[np.float32]",
    samples: "Samples",
    label_offset: int,
    names: Sequence[str] | None,
    preprocess: "Preprocess",
) -> Flips | Absent:
    """Images whose class changed between logits `[N, C]`: lost ones first, then gained, then
    those that were wrong and are wrong in another way."""
    import numpy as np

    was, now = before.argmax(axis=1), after.argmax(axis=1)
    labels = samples.labels() + label_offset
    kinds = {
        "lost": (was == labels) & (now != labels),
        "gained": (was != labels) & (now == labels),
        "changed": (was != labels) & (now != labels) & (was != now),
    }
    counts = {kind: int(kinds[kind].sum()) for kind in _KINDS}
    if not sum(counts.values()):
        return Absent(
            f"No image flipped: {stage} predicts the float model's class on all {len(labels)} "
            "evaluation images."
        )
    chosen = [(kind, int(i)) for kind in _KINDS for i in np.flatnonzero(kinds[kind])][:FLIPS]
    probabilities = [_probabilities(logits) for logits in (before, after)]

    def top(parts: "NDArray[np.float64]", row: int) -> tuple[Ranked, ...]:
        order = np.argsort(-parts[row], kind="stable")[:TOP]
        return tuple(
            Ranked(
                class_name(int(index), names),
                float(parts[row, index]) if np.isfinite(parts[row, index]) else None,
                bool(index == labels[row]),
            )
            for index in order
        )

    shown = [
        Flip(
            kind,
            samples.items[row].id,
            class_name(int(labels[row]), names),
            data_uri(_crop(samples, samples.items[row], preprocess)),
            top(probabilities[0], row),
            top(probabilities[1], row),
        )
        for kind, row in chosen
    ]
    return Flips(stage, len(labels), counts, tuple(shown))


def sights_of(
    samples: "Samples", label_offset: int, names: Sequence[str] | None, preprocess: "Preprocess"
) -> tuple[Sight, ...] | Absent:
    """The first pictures that both views can show."""
    from pipeline.data.device_view import DeviceView

    device = DeviceView(size=preprocess.size, convert=True)
    found: list[Sight] = []
    for sample in samples.items[: 4 * SIGHTS]:
        try:
            theirs = _crop(samples, sample, device)
        except BrokenImage:  # so long that the board would leave nothing of it
            continue
        label = class_name(sample.label + label_offset, names)
        ours = _crop(samples, sample, preprocess)
        found.append(Sight(sample.id, label, data_uri(ours), data_uri(theirs)))
        if len(found) == SIGHTS:
            break
    if not found:
        return Absent("None of the first pictures can be shown as the board would prepare it.")
    return tuple(found)


def class_name(index: int, names: Sequence[str] | None) -> str:
    """What a class is called; its number where it has no name."""
    return names[index] if names is not None and 0 <= index < len(names) else f"class {index}"


def _crop(samples: "Samples", sample: "Sample", view: "View") -> "NDArray[np.uint8]":
    from pipeline.data.samples import Samples

    one = Samples(samples.name, samples.dataset, (sample,))
    crops, _ = next(one.crops(view, 1, workers=1))
    crop: NDArray[np.uint8] = crops[0]
    return crop


def _probabilities(logits: "NDArray[np.float32]") -> "NDArray[np.float64]":
    """Softmax by row; outputs that are probabilities already stay as they are."""
    import numpy as np

    values = logits.astype(np.float64)
    with np.errstate(all="ignore"):
        sums = values.sum(axis=1)
        if (values >= 0).all() and np.allclose(sums, 1.0, atol=0.02):
            return values
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
