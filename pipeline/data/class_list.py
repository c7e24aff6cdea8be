"""The order of the classes of a folder of images, where a file beside them says it.

`labels.txt` or `classes.txt`: one class a line; the line's number from 0 is the label, that is the
model's output. `info.json`: `{"labels": ["…", …]}`, as SyNAP's runtime reads it.
"""

import json
import unicodedata
from pathlib import Path

from pipeline.data.image_files import SHOWN
from pipeline.errors import StageError

LIST_FILES = ("labels.txt", "classes.txt", "info.json")


def read_class_list(folder: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The file and its lines in order, or None where the folder has none.

    Raises StageError for a malformed file, and for two that do not agree.
    """
    found = [path for name in LIST_FILES if (path := folder / name).is_file()]
    if not found:
        return None
    lists = [(path, _classes(path)) for path in found]
    for path, classes in lists[1:]:
        if classes != lists[0][1]:
            raise StageError(
                f"{lists[0][0].name} and {path.name} give different classes or another order",
                where=str(folder),
                hint="remove the one that is not the order of the model's outputs",
            )
    return lists[0]


def labels_of_names(
    names: list[str], path: Path, classes: tuple[str, ...]
) -> dict[str, int | None]:
    """The label of each of these folder names; None for one that the list does not have.

    A line belongs to the folder that is called like all of it, or else like its first word
    (`n01440764 tench, Tinca tinca`). Raises StageError where two lines belong to one folder.
    """
    whole: dict[str, list[int]] = {}
    first: dict[str, list[int]] = {}
    for label, line in enumerate(classes):
        whole.setdefault(line, []).append(label)
        first.setdefault(line.split()[0], []).append(label)
    labels: dict[str, int | None] = {}
    for name in names:
        fitting = whole.get(name) or first.get(name) or []
        if len(fitting) > 1:
            raise StageError(
                f"the folder {name} may be class {fitting[0]} ({classes[fitting[0]]!r}) or class "
                f"{fitting[1]} ({classes[fitting[1]]!r})",
                where=str(path),
                hint="begin each line with the name of its folder",
            )
        labels[name] = fitting[0] if fitting else None
    claimed: dict[int, str] = {}
    for name, known in labels.items():
        if known is not None and claimed.setdefault(known, name) != name:
            raise StageError(
                f"the folders {claimed[known]} and {name} are both class {known} "
                f"({classes[known]!r})",
                where=str(path),
                hint="begin each line with the name of its folder, and rename one of the folders",
            )
    return labels


def unfit(name: str) -> str | None:
    """Why label files cannot hold this name of a class; None where they can.

    A line break would make two lines of it and shift every later class.
    """
    # Among the control characters tabs alone are harmless, between a synset and its words, say.
    if any(unicodedata.category(letter) == "Cc" for letter in name.replace("\t", " ")):
        return "has a control character, such as a line break, in its name"
    if any(unicodedata.category(letter) == "Cs" for letter in name):
        return "has a name that UTF-8 cannot write"
    return None


def _classes(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except OSError as error:
        raise StageError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise StageError(
            "not text in UTF-8", where=str(path), hint="save it anew in that encoding"
        ) from error
    classes = _of_json(text, path) if path.suffix == ".json" else _of_lines(text)
    empty = [place for place, name in enumerate(classes) if not name]
    if not classes:
        raise StageError("names no class", where=str(path), hint="write one class a line")
    if empty:
        places = ", ".join(str(place) for place in empty[:SHOWN])
        raise StageError(
            f"class {places} (counted from 0) has no name",
            where=str(path),
            hint="every line is a class, and its number is the label; fill or remove empty lines",
        )
    for place, name in enumerate(classes):
        if (why := unfit(name)) is not None:
            raise StageError(
                f"class {place} (counted from 0) {why}: {name!a}",
                where=str(path),
                hint="write its name as plain text in one line",
            )
    return classes


def _of_lines(text: str) -> tuple[str, ...]:
    # Not splitlines: it also breaks at characters that a name may contain.
    return tuple(line.strip() for line in text.rstrip().split("\n")) if text.strip() else ()


def _of_json(text: str, path: Path) -> tuple[str, ...]:
    form = 'the form is {"labels": ["first class", "second class"]}'
    try:
        labels = json.loads(text)["labels"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise StageError('no JSON object with "labels"', where=str(path), hint=form) from error
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise StageError('"labels" is no list of names', where=str(path), hint=form)
    return tuple(name.strip() for name in labels)
