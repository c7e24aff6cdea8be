"""Program of the tests: does what its argument lists and prints the answers as JSON."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.progress import Bar, Silent
from pipeline.recipe import Model
from pipeline.sources import SOURCES, hub


class Counting(Silent):
    """Keeps the notes and how far bars advanced."""

    def __init__(self) -> None:
        super().__init__()
        self.advanced = 0.0

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator[Bar]:
        yield self

    def advance(self, amount: float = 1.0) -> None:
        self.advanced += amount


def carry_out(step: dict[str, Any], progress: Any) -> object:
    """The value of one step."""
    if step["do"] == "fetch":
        file = hub.fetch(step["repository"], step.get("revision"), progress)
        return {"path": str(file.path), "commit": file.commit, "sha256": file.sha256}
    if step["do"] == "look":
        hub.look(step["repository"], step.get("revision"))
        return None
    if step["do"] == "is_cached":
        return hub.is_cached(step["repository"], step.get("revision"))
    model = Model.model_validate(step["model"])
    source = SOURCES[model.source]
    if step["do"] == "missing":
        return [[thing.what, thing.hint] for thing in source.missing(model, None)]
    if step["do"] == "produce":
        made = source.produce(model, None, Path(step["folder"]), progress)
        return made.model_dump(mode="json")
    raise ValueError(step["do"])


def main() -> None:
    """Carry the steps out, each whatever became of the one before."""
    answers = []
    for step in json.loads(sys.argv[1]):
        progress = Counting()
        answer: dict[str, Any] = {}
        try:
            answer["value"] = carry_out(step, progress)
        except PipelineError as error:
            answer |= {"error": type(error).__name__, "text": str(error)}
        answer["notes"] = progress.notes
        answer["advanced"] = progress.advanced
        answer["heavy"] = [name for name in ("torch", "timm") if name in sys.modules]
        answers.append(answer)
    print(json.dumps(answers))


main()
