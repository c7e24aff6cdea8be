import hashlib
import io
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.dataset import BrokenImage, content_digest
from pipeline.data.digest_index import DigestIndex
from pipeline.data.draw import SampleSets, draw_samples
from pipeline.data.samples import Samples
from pipeline.data.timm_lists import imagenet_synsets
from pipeline.errors import MissingError, StageError, UsageError
from pipeline.progress import Bar, Silent
from pipeline.recipe import Data

Write = Callable[[str, bytes | int], Path]
SYNSETS = list(imagenet_synsets())
BROKEN = b"no image"


def recipe_data(
    calibration: int | str = "all",
    evaluation: int | str = "all",
    selection: int | str | None = None,
    dataset: str = "imagenet",
    **more: Any,
) -> Data:
    """`calibration__seed=3` sets an option of a set, any other key one of `data`."""
    sets: dict[str, Any] = {"uneven_classes": "accept"}
    sets |= {
        name: {"dataset": dataset, "images": images}
        for name, images in (
            ("calibration", calibration),
            ("selection", selection),
            ("evaluation", evaluation),
        )
        if images is not None
    }
    for key, value in more.items():
        name, _, option = key.partition("__")
        if option:
            sets[name][option] = value
        else:
            sets[key] = value
    return Data.model_validate(sets)


def other_notes(sets: SampleSets) -> tuple[str, ...]:
    """Without the one that four classes are not all of ImageNet's."""
    return tuple(note for note in sets.notes if "of 1000 classes have images" not in note)


def draw(data: Data, folder: Path | None, recipe_folder: Path | None = None) -> SampleSets:
    recipe_folder = recipe_folder or Path()
    with tempfile.TemporaryDirectory() as store:
        index = DigestIndex(Path(store, "digests.json"))
        return draw_samples(data, folder, recipe_folder, index, Silent())


def parts(sets: SampleSets) -> list[Samples]:
    found = (sets.calibration, sets.selection, sets.evaluation)
    return [part for part in found if part is not None]


def contents(sets: SampleSets) -> list[list[tuple[str, int]]]:
    return [[(item.digest, item.label) for item in part.items] for part in parts(sets)]


def rank(seed: int, digest: str) -> str:
    return hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest()


@cache
def small_png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), (seed % 256, seed // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def classes(folder: Path, write: Write) -> Path:
    """Five classes of 9, 7, 5, 3 and 1 images: 25 in all."""
    seed = 0
    for label in range(5):
        for _ in range(9 - 2 * label):
            write(f"{SYNSETS[label]}/{seed}.png", seed)
            seed += 1
    return folder


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(lambda c: sum(c) >= 3),
    share=st.tuples(st.integers(1, 100), st.integers(0, 100), st.integers(1, 100)),
    seeds=st.tuples(*[st.integers(0, 10)] * 3),
    shuffle=st.randoms(use_true_random=False),
)
def test_invariants(
    counts: list[int],
    share: tuple[int, int, int],
    seeds: tuple[int, int, int],
    shuffle: Any,
) -> None:
    """Disjoint, stratified, ranked by content, and blind to names, places and order."""
    images = [
        (label, small_png(100 * label + place))
        for label, count in enumerate(counts)
        for place in range(count)
    ]
    calibration = max(1, len(images) * share[0] // 300)
    selection = len(images) * share[1] // 300
    evaluation = max(1, len(images) * share[2] // 300)
    options: dict[str, Any] = {"selection__seed": seeds[1]} if selection else {}
    data = recipe_data(
        calibration,
        evaluation,
        selection or None,
        calibration__seed=seeds[0],
        evaluation__seed=seeds[2],
        **options,
    )
    drawn = []
    for arrangement in range(2):
        with tempfile.TemporaryDirectory() as name:
            names = list(range(len(images)))
            shuffle.shuffle(names)
            for place, (label, content) in zip(names, images, strict=True):
                layer = ("", "val/")[shuffle.randrange(2)] if arrangement else ""
                path = Path(name, f"{layer}{SYNSETS[label]}", f"{place:03}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            drawn.append(draw(data, Path(name)))
    first, second = drawn
    assert contents(first) == contents(second)
    assert [part.digest for part in parts(first)] == [part.digest for part in parts(second)]

    digests = [item.digest for part in parts(first) for item in part.items]
    assert len(digests) == len(set(digests))
    assert set(digests) <= {content_digest(content) for _, content in images}
    assert len(first.calibration) == calibration
    assert len(first.evaluation) == evaluation
    assert (len(first.selection) if first.selection else 0) == selection

    left = {content_digest(content): label for label, content in images}
    for part, seed in zip(parts(first)[:-1], seeds, strict=False):
        there = Counter(left.values())
        taken = Counter(item.label for item in part.items)
        for label in there:
            assert taken[label] >= min(there[label], max(taken.values()) - 1)
            of_class = [item.digest for item in part.items if item.label == label]
            ranking = sorted((d for d in left if left[d] == label), key=lambda d: rank(seed, d))
            assert of_class == ranking[: len(of_class)]
        in_turns = [item.label for item in part.items]
        first_turn = in_turns[: len(set(in_turns))]
        assert len(set(first_turn)) == len(first_turn), "every class once before any twice"
        for item in part.items:
            assert left.pop(item.digest) == item.label
    ranking = sorted(left, key=lambda digest: rank(seeds[2], digest))
    assert [item.digest for item in first.evaluation.items] == ranking[:evaluation]


def test_which_images_these_options_draw_does_not_change() -> None:
    """Of the digits, which are the same everywhere. A change here changes every result."""
    sets = draw(recipe_data(40, 100, 20, dataset="digits"), None)
    assert [len(part) for part in parts(sets)] == [40, 20, 100]
    golden = ["d488eb4210c2ef5b", "f49b71cafe73e078", "191eb860930f6d01"]
    assert [part.digest[:16] for part in parts(sets)] == golden


def test_all_takes_what_is_left(classes: Path) -> None:
    sets = draw(recipe_data(5, "all", 6), classes)
    assert [len(part) for part in parts(sets)] == [5, 6, 14]
    assert [part.name for part in parts(sets)] == ["calibration", "selection", "evaluation"]
    assert sorted(item.label for item in sets.calibration.items) == [0, 1, 2, 3, 4]
    assert other_notes(sets) == () and sets.broken == () and sets.duplicates == 0


def test_the_seed_changes_the_draw(classes: Path) -> None:
    first = draw(recipe_data(5), classes)
    other = draw(recipe_data(5, calibration__seed=1), classes)
    assert contents(first)[0] != contents(other)[0]


def test_equal_content_counts_once_under_the_lowest_id(classes: Path, write: Write) -> None:
    write(f"{SYNSETS[0]}/a copy.png", 0)
    write(f"val/{SYNSETS[0]}/0.png", 0)
    sets = draw(recipe_data(5), classes)
    assert len(sets.calibration) + len(sets.evaluation) == 25
    assert sets.duplicates == 2
    ids = [item.id for part in parts(sets) for item in part.items]
    assert f"{SYNSETS[0]}/0.png" in ids
    assert not {f"{SYNSETS[0]}/a copy.png", f"val/{SYNSETS[0]}/0.png"} & set(ids)
    assert "images of the same content as another, left out: 2" in sets.notes


def test_equal_content_with_different_labels_is_an_error_naming_both(
    classes: Path, write: Write
) -> None:
    write(f"{SYNSETS[3]}/same.png", 0)
    with pytest.raises(StageError, match="different labels") as caught:
        draw(recipe_data(5), classes)
    assert f"{SYNSETS[0]}/0.png (label 0) = {SYNSETS[3]}/same.png (label 3)" in caught.value.what
    assert caught.value.hint


def test_empty_files_in_two_classes_are_broken_and_not_contradictory(
    classes: Path, write: Write
) -> None:
    ids = sorted(f"{SYNSETS[label]}/empty.JPEG" for label in (1, 1, 3))
    for id in ids:
        write(id, b"")
    with pytest.raises(BrokenImage, match="is an empty file"):
        draw(recipe_data(5), classes)
    sets = draw(recipe_data(5, broken_images="skip"), classes)
    assert sets.broken == tuple(sorted(set(ids)))
    assert len(sets.calibration) + len(sets.evaluation) == 25
    assert sets.duplicates == 0


def test_a_broken_image_stops_with_its_name(classes: Path, write: Write) -> None:
    path = write(f"{SYNSETS[4]}/24.png", BROKEN)
    with pytest.raises(BrokenImage) as caught:
        draw(recipe_data(5), classes)
    assert caught.value.where == str(path)
    assert "neither JPEG nor PNG" in caught.value.what and "skip" in caught.value.hint


def test_all_broken_ones_of_a_set_are_named_at_once(classes: Path, write: Write) -> None:
    for place in range(8):
        write(f"{SYNSETS[place % 3]}/bad{place}.JPEG", BROKEN + bytes([place]))
    with pytest.raises(BrokenImage) as caught:
        draw(recipe_data(), classes)
    assert caught.value.what.count("bad") == 5
    assert caught.value.what.endswith("and 2 more")


def test_a_broken_image_that_is_not_drawn_does_not_matter(classes: Path, write: Write) -> None:
    good = draw(recipe_data(5, 3), classes)
    drawn = {item.id for part in parts(good) for item in part.items}
    rest = [path for path in classes.rglob("*.png") if str(path.relative_to(classes)) not in drawn]
    path = next(path for path in sorted(rest) if SYNSETS[0] in str(path))
    path.unlink()
    assert contents(draw(recipe_data(5, 3), classes)) == contents(good)
    # One whose rank is behind all that are drawn.
    last = max(rank(0, digest) for digest, _ in contents(good)[1])
    salt = next(
        salt for salt in range(10_000) if rank(0, content_digest(BROKEN + b"%d" % salt)) > last
    )
    write(f"{SYNSETS[0]}/bad.JPEG", BROKEN + b"%d" % salt)
    sets = draw(recipe_data(5, 3, broken_images="skip"), classes)
    assert contents(sets)[1] == contents(good)[1]
    assert sets.broken == ()


@settings(max_examples=25, deadline=None)
@given(bad=st.integers(0, 30), good=st.integers(5, 20), calibration=st.integers(1, 3))
def test_skipping_broken_images_draws_as_if_they_were_not_there(
    bad: int, good: int, calibration: int
) -> None:
    data = recipe_data(calibration, 2, 1, broken_images="skip", evaluation__at_least=1)
    with tempfile.TemporaryDirectory() as name:
        for place in range(good):
            path = Path(name, f"{SYNSETS[place % 3]}_{place}.png")
            path.write_bytes(small_png(place))
        without = draw(data, Path(name))
        for place in range(bad):
            path = Path(name, f"{SYNSETS[place % 4]}_bad{place}.JPEG")
            path.write_bytes(BROKEN + bytes([place]))
        sets = draw(data, Path(name))
    assert contents(sets) == contents(without)
    assert without.broken == ()
    assert all("_bad" in id for id in sets.broken)
    found = [note for note in sets.notes if note.startswith("broken images, left out: ")]
    assert len(found) == bool(sets.broken)
    if found:
        assert found[0].startswith(f"broken images, left out: {len(sets.broken)} ({sets.broken[0]}")


class Rounds(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.bars: list[str] = []

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator[Bar]:
        self.bars.append(text)
        with super().bar(text, total) as bar:
            yield bar


def test_many_broken_images_do_not_mean_many_rounds(classes: Path, tmp_path: Path) -> None:
    for place in range(300):
        (classes / f"{SYNSETS[place % 7]}_{place}.JPEG").write_bytes(BROKEN + b"%d" % place)
    rounds = Rounds()
    data = recipe_data(1, 1, broken_images="skip")
    draw_samples(data, classes, tmp_path, DigestIndex(tmp_path / "digests.json"), rounds)
    assert rounds.bars[0] == "reading imagenet images"
    assert 2 <= len(rounds.bars) <= 20


def test_an_unreadable_file_is_broken(classes: Path) -> None:
    (classes / SYNSETS[0] / "gone.JPEG").symlink_to(classes / "nowhere")
    with pytest.raises(BrokenImage, match="No such file"):
        draw(recipe_data(5), classes)
    sets = draw(recipe_data(5, broken_images="skip"), classes)
    assert sets.broken == (f"{SYNSETS[0]}/gone.JPEG",)
    assert len(sets.calibration) + len(sets.evaluation) == 25


def test_fewer_than_asked_for_goes_on_with_a_note(classes: Path) -> None:
    sets = draw(recipe_data(5, 1000, evaluation__at_least=20), classes)
    assert len(sets.evaluation) == 20
    assert other_notes(sets) == (
        "evaluation: 20 images instead of 1000, because the dataset has no more",
    )


def test_fewer_than_asked_for_is_an_error_unless_the_recipe_says_how_many_will_do(
    classes: Path,
) -> None:
    with pytest.raises(StageError, match="20 images, and at least 21 are demanded") as caught:
        draw(recipe_data(5, 21), classes)
    assert "data.evaluation.at_least" in caught.value.hint


@pytest.mark.parametrize(
    ("calibration", "selection", "evaluation", "expected"),
    [
        ((8, 2), (6, 2), (5, None), (8, 6, 5)),  # enough for all
        ((15, 2), (6, 2), (5, None), (2, 6, 5)),
        ((12, 2), (30, 2), (5, None), (2, 2, 5)),
        ((18, 2), (6, 2), ("all", None), (18, 6, 1)),  # one will do for evaluation
        ((19, 2), (6, 2), ("all", None), (2, 6, 17)),
        ((19, 2), (6, 2), ("auto", None), (2, 6, 17)),
        ((19, 2), (6, 2), (50, 1), (2, 6, 17)),
        ((16, 2), None, ("all", 10), (2, None, 23)),
        ((14, None), (2, None), ("all", None), (14, 2, 9)),
    ],
)
def test_few_images_are_shared_out(
    classes: Path, calibration: Any, selection: Any, evaluation: Any, expected: tuple[int, ...]
) -> None:
    """25 images, by number and `at_least`; evaluation comes last and gets what the others leave."""
    given = {"calibration": calibration, "selection": selection, "evaluation": evaluation}
    asked = {name: draw[0] for name, draw in given.items() if draw}
    least = {f"{name}__at_least": draw[1] for name, draw in given.items() if draw and draw[1]}
    sets = draw(recipe_data(**asked, **least), classes)
    found = sets.calibration, sets.selection, sets.evaluation
    assert tuple(None if it is None else len(it) for it in found) == expected
    fewer = (
        f"calibration: 2 images instead of {calibration[0]}, because the dataset has no more for"
    )
    assert any(note.startswith(fewer) for note in sets.notes) == (expected[0] == 2)


def test_auto_takes_ranked_images_up_to_its_ceiling(classes: Path, tmp_path: Path) -> None:
    fixed = draw(recipe_data(5), classes)
    auto = draw(recipe_data(5, "auto"), classes)
    assert auto.evaluation.items == fixed.evaluation.items
    few = draw(recipe_data(5, "auto", evaluation__ceiling=7), classes)
    assert few.evaluation.items == fixed.evaluation.items[:7]
    # A manifest may be sorted by class, and its first images must not be a sample of something else.
    lines = [f"{item.id} {item.label}" for item in sorted(fixed.evaluation.items)]
    (tmp_path / "sorted.txt").write_text("\n".join(lines) + "\n")
    listed = draw(recipe_data(5, "auto", evaluation__manifest="sorted.txt"), classes, tmp_path)
    assert listed.evaluation.items == fixed.evaluation.items


def test_fewer_than_at_least_is_an_error_that_counts(classes: Path) -> None:
    with pytest.raises(StageError) as caught:
        draw(recipe_data(5, 1000, 4, evaluation__at_least=17), classes)
    error = caught.value
    assert error.where == "data.evaluation"
    assert "16 images, and at least 17 are demanded" in error.what
    assert "the dataset imagenet has 25 usable images" in error.what
    assert "5 of them were taken for calibration, 4 of them were taken for selection" in error.what
    assert "data.evaluation.at_least" in error.hint and "draw fewer" in error.hint
    assert len(draw(recipe_data(5, 1000, 4, evaluation__at_least=16), classes).evaluation) == 16


def test_when_calibration_takes_everything_the_error_says_so(classes: Path) -> None:
    with pytest.raises(StageError, match=r"0 images.*25 of them were taken for calibration"):
        draw(recipe_data("all"), classes)


def test_unknown_classes_are_in_the_notes(classes: Path, write: Write) -> None:
    write("n99999999/x.png", 500)
    (note,) = other_notes(draw(recipe_data(5), classes))
    assert "n99999999 (1)" in note


def test_no_images(folder: Path) -> None:
    for given_folder in (None, folder):
        with pytest.raises(MissingError):
            draw(recipe_data(5), given_folder)


def test_the_recipes_own_folder_is_relative_to_it(classes: Path) -> None:
    data = recipe_data(5, folder=classes.name)
    assert len(draw(data, None, classes.parent).evaluation) == 20
    with pytest.raises(MissingError):
        draw(data, classes / "elsewhere", classes.parent)


def test_a_manifest_is_taken_in_its_order(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text(
        f"# mine\n{SYNSETS[2]}/16.png 2\n{SYNSETS[0]}/3.png 0\n{SYNSETS[2]}/17.png 2\n"
    )
    sets = draw(recipe_data(calibration__manifest="set.txt"), classes, tmp_path)
    assert [item.label for item in sets.calibration.items] == [2, 0, 2]
    assert sets.calibration.items[1].id == f"{SYNSETS[0]}/3.png"
    assert len(sets.evaluation) == 22
    shorter = draw(recipe_data(2, calibration__manifest="set.txt"), classes, tmp_path)
    assert shorter.calibration.items == sets.calibration.items[:2]
    longer = draw(
        recipe_data(9, calibration__manifest="set.txt", calibration__at_least=3), classes, tmp_path
    )
    assert "calibration: 3 images instead of 9, because the manifest has no more" in longer.notes


def test_a_manifest_does_not_get_what_an_earlier_set_has(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"{SYNSETS[2]}/16.png 2\n{SYNSETS[0]}/3.png 0\n")
    (tmp_path / "two").write_text(f"{SYNSETS[2]}/16.png 2\n{SYNSETS[0]}/5.png 0\n")
    data = recipe_data(calibration__manifest="one", evaluation__manifest="two")
    with pytest.raises(StageError, match="1 images of the manifest are in a set before") as caught:
        draw(data, classes, tmp_path)
    assert "overlap: leave_out" in caught.value.hint
    data = data.model_copy(update={"overlap": "leave_out"})
    sets = draw(data, classes, tmp_path)
    assert [item.id for item in sets.evaluation.items] == [f"{SYNSETS[0]}/5.png"]
    (note,) = other_notes(sets)
    assert note.startswith("evaluation: 1 images of the manifest were left out")
    too_few = recipe_data(
        calibration__manifest="one",
        evaluation__manifest="two",
        evaluation__at_least=2,
        overlap="leave_out",
    )
    with pytest.raises(
        StageError, match=r"1 images, and at least 2 are demanded.*manifest names 2"
    ):
        draw(too_few, classes, tmp_path)


def test_what_a_manifest_names_is_not_drawn_for_another_set(classes: Path, tmp_path: Path) -> None:
    named = [f"{SYNSETS[label]}/{seed}.png" for label, seed in ((0, 0), (0, 3), (2, 16), (3, 21))]
    lines = [f"{name} {SYNSETS.index(name.split('/')[0])}\n" for name in named]
    (tmp_path / "set.txt").write_text("".join(lines))
    sets = draw(recipe_data(16, selection=5, evaluation__manifest="set.txt"), classes, tmp_path)
    assert [item.id for item in sets.evaluation.items] == named
    assert (len(sets.calibration), len(sets.selection or ())) == (16, 5)
    with pytest.raises(StageError, match="21 images, and at least 22 are demanded"):
        draw(recipe_data(22, evaluation__manifest="set.txt"), classes, tmp_path)


def test_a_copy_named_by_a_manifest_is_the_same_image(
    classes: Path, tmp_path: Path, write: Write
) -> None:
    write(f"{SYNSETS[0]}/z copy.png", 3)
    (tmp_path / "set.txt").write_text(f"{SYNSETS[0]}/z copy.png 0\n{SYNSETS[0]}/3.png 0\n")
    sets = draw(recipe_data(calibration__manifest="set.txt"), classes, tmp_path)
    assert [item.id for item in sets.calibration.items] == [f"{SYNSETS[0]}/3.png"]
    assert len(sets.evaluation) == 24 and sets.duplicates == 1


def test_broken_images_of_a_manifest(classes: Path, tmp_path: Path, write: Write) -> None:
    write(f"{SYNSETS[0]}/bad.JPEG", BROKEN)
    (tmp_path / "set.txt").write_text(f"{SYNSETS[0]}/bad.JPEG 0\n{SYNSETS[0]}/3.png 0\n")
    with pytest.raises(BrokenImage, match=r"bad\.JPEG"):
        draw(recipe_data(calibration__manifest="set.txt"), classes, tmp_path)
    data = recipe_data(calibration__manifest="set.txt", broken_images="skip")
    sets = draw(data, classes, tmp_path)
    assert [item.id for item in sets.calibration.items] == [f"{SYNSETS[0]}/3.png"]
    assert sets.broken == (f"{SYNSETS[0]}/bad.JPEG",)


def test_with_manifests_for_everything_no_other_image_is_read(
    classes: Path, tmp_path: Path
) -> None:
    (classes / SYNSETS[1] / "unreadable.JPEG").symlink_to(classes / "nowhere")
    (tmp_path / "one").write_text(f"{SYNSETS[2]}/16.png 2\n")
    (tmp_path / "two").write_text(f"{SYNSETS[0]}/5.png 0\n")
    data = recipe_data(calibration__manifest="one", evaluation__manifest="two")
    assert len(draw(data, classes, tmp_path).evaluation) == 1
    with pytest.raises(BrokenImage, match=r"unreadable\.JPEG"):
        draw(recipe_data(calibration__manifest="one"), classes, tmp_path)


def test_a_manifest_that_is_wrong_or_not_there(classes: Path, tmp_path: Path) -> None:
    data = recipe_data(calibration__manifest="set.txt")
    with pytest.raises(UsageError, match=r"set\.txt"):
        draw(data, classes, tmp_path)
    (tmp_path / "set.txt").write_text(f"{SYNSETS[2]}/16.png 3\n")
    with pytest.raises(StageError) as caught:
        draw(data, classes, tmp_path)
    assert caught.value.where == f"{tmp_path / 'set.txt'}:1"


def test_two_datasets_in_one_recipe(classes: Path) -> None:
    data = recipe_data(20, 10, 3, calibration__dataset="digits", selection__dataset="digits")
    sets = draw(data, classes)
    assert [part.dataset.name for part in parts(sets)] == ["digits", "digits", "imagenet"]
    assert [len(part) for part in parts(sets)] == [20, 3, 10]


def test_digests_are_kept_when_the_draw_fails(classes: Path, tmp_path: Path) -> None:
    path = tmp_path / "digests.json"
    with pytest.raises(StageError):
        draw_samples(
            recipe_data(5, evaluation__at_least=99), classes, tmp_path, DigestIndex(path), Silent()
        )
    assert path.exists()


def test_overlapping_sets_cannot_be_built(classes: Path) -> None:
    sets = draw(recipe_data(5), classes)
    twice = (*sets.evaluation.items, sets.calibration.items[0])
    evaluation = Samples("evaluation", sets.evaluation.dataset, twice)
    with pytest.raises(ValueError, match="drawn twice"):
        SampleSets(sets.calibration, None, evaluation, (), (), 0)


def test_a_warm_draw_imports_nothing_heavy(classes: Path, tmp_path: Path) -> None:
    index = str(tmp_path / "digests.json")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.data.digest_index import DigestIndex\n"
        "from pipeline.data.draw import draw_samples\n"
        "from pipeline.progress import Silent\n"
        "from pipeline.recipe import Data\n"
        "data = Data.model_validate_json(sys.argv[1])\n"
        "sets = draw_samples(data, Path(sys.argv[2]), Path(), DigestIndex(Path(sys.argv[3])),"
        " Silent())\n"
        "heavy = {'sklearn', 'scipy', 'numpy', 'PIL', 'torch', 'timm'} & set(sys.modules)\n"
        "print(sets.evaluation.digest, *heavy)\n"
    )

    def run(data: Data) -> list[str]:
        argv = [sys.executable, "-c", code, data.model_dump_json(), str(classes), index]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()

    digits = recipe_data(40, 100, 20, dataset="digits")
    assert run(digits) == [draw(digits, None).evaluation.digest]
    images = recipe_data(5)
    cold = run(images)
    assert "PIL" in cold[1:], "the first run decodes, so the check below could fail"
    assert run(images) == [draw(images, classes).evaluation.digest]
