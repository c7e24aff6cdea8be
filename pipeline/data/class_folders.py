"""`folder`: images of any kind, in one folder for each class.

The class of an image is the first folder below the one that was given. Labels come from a list in
that folder (`class_list.py`), or else are the sorted names of the class folders counted from 0.
"""

from collections import Counter
from pathlib import Path

from pipeline.data.class_list import LIST_FILES, labels_of_names, read_class_list, unfit
from pipeline.data.dataset import Item
from pipeline.data.image_files import SHOWN, ImageFiles, missing, require_folder, shown_counts
from pipeline.errors import StageError

EXPECTED = (
    "expected is one folder for each class (cats/*.jpg, dogs/*.png; endings .jpeg, .jpg or .png), "
    "and, unless the model's outputs are in the sorted order of their names, a labels.txt "
    "beside them with one class a line in the order of the outputs"
)
_SPLITS = {"train", "training", "val", "valid", "validation", "test"}


def open_folder(folder: Path | None) -> "ClassFolders":
    """The images below `folder`, listed.

    Raises MissingError where there is no image in a class folder, and StageError for one whose
    classes or their order are in doubt.
    """
    dataset = ClassFolders(require_folder(folder, "images in class folders", EXPECTED))
    if not dataset.listing():
        raise missing(f"images in class folders: {dataset.what_is_there()}", EXPECTED)
    return dataset


class ClassFolders(ImageFiles):
    """Images by class folder. An id is the path below the folder, with `/`."""

    name = "folder"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._items, self.class_names, self._notes = self._listed()

    @property
    def class_count(self) -> int:
        return len(self.class_names)

    def listing(self) -> list[Item]:
        """Every image in a class folder, sorted by id."""
        return self._items

    def notes(self) -> tuple[str, ...]:
        """Where the labels come from, and what was left out."""
        return self._notes

    def _listed(self) -> tuple[list[Item], tuple[str, ...], tuple[str, ...]]:
        counts: Counter[str] = Counter()
        found: list[tuple[str, str]] = []
        for below, name in self.files():
            folder = below.partition("/")[0]
            counts[folder] += 1
            found.append((below + name, folder))
        stray = counts.pop("", 0)
        notes = [f"{self.folder}: {stray} images in no class folder were left out"] * bool(stray)
        listed = read_class_list(self.folder)
        labels: dict[str, int | None]
        if listed is None:
            names = tuple(sorted(counts))
            self._refuse_doubtful(names)
            labels = {name: label for label, name in enumerate(names)}
        else:
            path, names = listed
            labels = labels_of_names(sorted(counts), path, names)
            unknown = Counter({name: counts[name] for name in counts if labels[name] is None})
            if unknown:
                notes.append(
                    f"{self.folder}: {unknown.total()} images were left out, because "
                    f"{path.name} does not name their folders: {shown_counts(unknown)}"
                )
        items = sorted(
            Item(id, label) for id, folder in found if (label := labels.get(folder)) is not None
        )
        return items, names, tuple(notes)

    def _refuse_doubtful(self, names: tuple[str, ...]) -> None:
        """Where sorted names would probably not be the order of the model's outputs."""
        write_list = (
            f"write a {LIST_FILES[0]} beside the folders, one class a line in the order of the "
            "model's outputs"
        )
        for name in names:
            if (why := unfit(name)) is not None:
                raise StageError(
                    f"the class folder {name!a} {why}",
                    where=str(self.folder),
                    hint=f"rename the folder, or {write_list}",
                )
        if names and {name.lower() for name in names} <= _SPLITS:
            raise StageError(
                f"{', '.join(names)} look like parts of a dataset, not like classes",
                where=str(self.folder),
                hint=f"give one of them as the folder, or {write_list}",
            )
        if all(name.isdecimal() for name in names):
            numbers = sorted(names, key=int)
            if numbers != list(names):
                first = next(a for a, b in zip(names, numbers, strict=True) if a != b)
                raise StageError(
                    f"the names of the class folders are numbers, and sorted as names {first} "
                    "comes before smaller ones, so their labels are in doubt",
                    where=str(self.folder),
                    hint=f"{write_list} (`seq 0 999 > labels.txt` where the number is the output)",
                )
        empty = sorted(
            path.name
            for path in self.folder.iterdir()
            if path.is_dir() and not path.name.startswith(".") and path.name not in names
        )
        if names and empty:
            raise StageError(
                f"these folders hold no image: {', '.join(empty[:SHOWN])}"
                f"{', …' if len(empty) > SHOWN else ''}; whether they are classes decides the "
                "labels of the others",
                where=str(self.folder),
                hint=f"remove them, or {write_list}",
            )
