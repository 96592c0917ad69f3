"""What ResNets add to the contract of all backbones."""

import pytest
import torch
from torch import nn

import zoo


@pytest.mark.parametrize(
    ("arch", "depth"),
    [("resnet10", 10), ("resnet18", 18), ("resnet34", 34), ("resnet50", 50), ("resnet101", 101)],
)
def test_the_number_counts_the_layers_with_weights(arch, depth):
    """Those of the residual paths: the shortcuts' projections are not counted (He et al.)."""
    with torch.device("meta"):
        model = zoo.create(arch)
    weighted = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name:
            weighted.append(name)
    assert len(weighted) == depth


@pytest.mark.parametrize(("stem", "sides"), [("imagenet", 8), ("cifar", 32), ("small", 16)])
def test_a_stem_sets_the_resolution_of_everything_above_it(stem, sides):
    with torch.device("meta"):
        model = zoo.create("resnet18", stem=stem)
        maps = model.features(torch.empty(2, 3, 32, 32))
    found = [maps[name].shape[-1] for name in ("res2", "res3", "res4", "res5")]
    assert found == [sides, sides // 2, sides // 4, sides // 8]


def test_only_networks_that_others_have_are_said_to_be_theirs():
    with torch.device("meta"):
        narrow = zoo.create("resnet10", stem="imagenet")
        plain = zoo.create("resnet18")
        cifar = zoo.create("resnet18", stem="cifar")
    assert (narrow.timm_name, plain.timm_name, cifar.timm_name) == (None, "resnet18", None)
    assert plain.detectron2_compatible and not cifar.detectron2_compatible


def test_the_small_one_is_under_2_mb_in_half_precision(tmp_path):
    zoo.save(zoo.create("resnet10", embed_dim=128), tmp_path / "m", half=True)
    assert (tmp_path / "m" / "model.safetensors").stat().st_size < 2_000_000
