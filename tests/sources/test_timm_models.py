"""What is read from timm's own configurations."""

import dataclasses
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.sources.timm_models import build, configuration


def test_inception_v4_as_timm_publishes_it() -> None:
    config = configuration("inception_v4")
    assert config.name == "inception_v4.tf_in1k"
    assert config == configuration(config.name)
    assert config.hub == "timm/inception_v4.tf_in1k"
    assert (config.num_classes, config.classifier) == (1000, "last_linear")
    preprocess = config.preprocess()
    assert preprocess.model_dump() == {
        "size": 299,
        "interpolation": "bicubic",
        "crop": 0.875,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "mobilenetv2_100.ra_in1k"])
def test_the_preprocessing_is_that_of_timms_evaluation(name: str) -> None:
    preprocess = configuration(name).preprocess()  # makes timm importable
    import timm
    import timm.data

    timm_data: Any = timm.data
    data = timm_data.resolve_model_data_config(timm.create_model(name, pretrained=False))
    steps = {type(step).__name__: step for step in timm_data.create_transform(**data).transforms}
    assert steps["CenterCrop"].size == (preprocess.size, preprocess.size)
    assert steps["Resize"].size == int(preprocess.size / preprocess.crop)
    assert steps["Resize"].interpolation.value == preprocess.interpolation
    assert tuple(steps["Normalize"].mean.tolist()) == pytest.approx(preprocess.mean)
    assert tuple(steps["Normalize"].std.tolist()) == pytest.approx(preprocess.std)


def test_a_repository_of_another_owner() -> None:
    assert configuration("rdnet_tiny.nv_in1k").hub == "naver-ai/rdnet_tiny.nv_in1k"


def test_no_repository() -> None:
    assert configuration("legacy_xception.tf_in1k").hub is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("inceptionv4", "did you mean inception_v4"),
        ("inceptionv4.tf_in1k", "did you mean inception_v4"),
        ("inception_v4.tf_in1", "did you mean inception_v4.tf_in1k?"),
        ("inception_v4.nothing_like_it", "did you mean inception_v4.tf_in1k?"),
        ("timm/inception_v4", "there is no such model"),
        ("hf-hub:timm/inception_v4", "there is no such model"),
        ("", "there is no such model"),
        ("vit_base_patch14_dinov2", "without a classifier"),
    ],
)
def test_names_that_do_not_do(name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        configuration(name)
    assert says in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("volo_d5_512.sail_in1k", r"out of bounds \(crop\)"),  # it magnifies: 1.15
        ("convnext_tiny.in12k_ft_in1k_384", "crop mode 'squash'"),
    ],
)
def test_preprocessing_that_cannot_be_said(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        configuration(name).preprocess()
    assert caught.value.where == "model.name"


@pytest.mark.parametrize("size", [(3, 224, 192), (1, 224, 224)])
def test_inputs_that_are_not_square_rgb(size: tuple[int, ...]) -> None:
    config = configuration("inception_v4")
    with pytest.raises(UsageError, match="not square RGB"):
        dataclasses.replace(config, data=config.data | {"input_size": size}).preprocess()


def test_building() -> None:
    model = build("test_resnet.r160_in1k", 3)
    assert not model.training
    assert model.state_dict()["fc.weight"].shape[0] == 3
    with pytest.raises(UsageError, match="cannot build"):
        build("test_resnet.r160_in1k", 10**14)
