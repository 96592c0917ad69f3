import pytest
import torch

import zoo


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "resnet11"}, "unknown backbone 'resnet11'.*did you mean"),
        ({"arch": "alexnet", "stem": "cifar"}, "alexnet has no stem 'cifar'; there are: imagenet"),
        ({"arch": "resnet10", "embed_dim": 0}, "embed_dim must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_created_says_why(options, message):
    with pytest.raises(zoo.SettingsError, match=message):
        zoo.create(**options)


@pytest.mark.parametrize(
    ("arch", "stem", "chosen", "size"),
    [
        ("resnet10", None, "small", 32),
        ("resnet10", "imagenet", "imagenet", 224),
        ("resnet18", None, "imagenet", 224),
        ("resnet18", "cifar", "cifar", 32),
        ("vit_tiny", None, "patch16", 224),
    ],
)
def test_what_is_not_said_is_the_familys_own(arch, stem, chosen, size):
    with torch.device("meta"):
        model = zoo.create(arch, stem=stem)
    assert (model.arch, model.stem, model.input.size) == (arch, chosen, size)
    assert model.embed_dim == 128


def test_the_input_that_is_given_is_kept():
    spec = zoo.InputSpec(size=48, crop_pct=0.9, mean=(0.1, 0.2, 0.3))
    with torch.device("meta"):
        assert zoo.create("resnet10", input=spec).input == spec


def test_all_registered_backbones_are_listed_in_their_order():
    assert zoo.list_backbones() == list(zoo.BACKBONES)
