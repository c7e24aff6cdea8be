"""A model file that the user brings."""

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import MissingError, StageError
from pipeline.recipe_file import load_recipe
from pipeline.stages.given_file import file_options, given_file, missing_file
from pipeline.stages.stage import Settings

RECIPE = """\
schema: 1
model: {{source: quantized-tflite, name: mine{digest}}}
data:
  calibration: {{dataset: folder, images: 1, at_least: 1}}
  evaluation: {{dataset: folder, images: 1, at_least: 1}}
  preprocess: {{size: 32}}
"""
CONTENT = b"a model"
SHA1 = hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def settings_for(folder: Path, digest: str = "") -> Settings:
    (folder / "recipe.yaml").write_text(RECIPE.format(digest=digest and f", {digest}"))
    file = load_recipe(folder / "recipe.yaml")
    (folder / "model.tflite").write_bytes(CONTENT)
    return Settings(file, folder / "model.tflite", file.recipe.data.preprocess)


@pytest.mark.parametrize("digest", ["", f"sha1: '{SHA1}'", f"sha256: '{SHA256}'"])
def test_the_file_that_is_demanded(tmp_path: Path, digest: str) -> None:
    settings = settings_for(tmp_path, digest)
    assert missing_file(settings, "TFLite") == []
    assert file_options(settings)["file"] == SHA256


@pytest.mark.parametrize(("kind", "found", "length"), [("sha1", SHA1, 40), ("sha256", SHA256, 64)])
def test_another_file_is_missing_the_right_one(
    tmp_path: Path, kind: str, found: str, length: int
) -> None:
    """Found by the preflight, and again by the stage, to which the file may have changed."""
    demanded = "0" * length
    settings = settings_for(tmp_path, f"{kind}: '{demanded}'")
    said = f"this is not the file the recipe demands: its {kind} is {found}, not {demanded}"
    (missing,) = missing_file(settings, "TFLite")
    assert missing.what == f"the TFLite file {settings.weights}: {said}"
    assert missing.hint == f"give the right file, or correct model.{kind}"
    with pytest.raises(StageError) as error:
        file_options(settings)
    assert (error.value.what, error.value.hint) == (said, missing.hint)


def test_no_file(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    (tmp_path / "model.tflite").unlink()
    assert "there is no" in missing_file(settings, "TFLite")[0].what
    with pytest.raises(MissingError, match="there is no"):
        given_file(settings)
    nothing = Settings(settings.recipe, None)
    assert "--weights file" in missing_file(nothing, "TFLite")[0].hint
