"""From a file to a directory, and to the formats of others."""

import pickle

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

import zoo
from tests.zoo.interop.checkpoints import (
    BANK,
    DIM,
    shaken,
)
from zoo.interop.checkpoint import read_checkpoint
from zoo.interop.convert import convert


@torch.no_grad()
@pytest.mark.parametrize("arch", ["alexnet", "resnet50"])
def test_torchvisions_own_networks(tmp_path, arch):
    theirs = shaken(getattr(torchvision.models, arch)(num_classes=DIM))
    save_file(theirs.state_dict(), tmp_path / "in.safetensors")
    report = convert(tmp_path / "in.safetensors", tmp_path / "out", arch=arch)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(zoo.load(tmp_path / "out")(x), theirs(x))
    assert not report.missing and not report.ignored


def test_a_deeper_network_is_no_shallower_one(tmp_path):
    torch.save(zoo.create("resnet34", embed_dim=DIM).state_dict(), tmp_path / "f")
    with pytest.raises(zoo.ModelError, match=r"unexpected.*layer1\.2"):
        convert(tmp_path / "f", tmp_path / "out", arch="resnet18")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_converted_says_why(net, tmp_path):
    torch.save({"weights": {"a": torch.zeros(1)}}, tmp_path / "unknown")
    with pytest.raises(zoo.ModelError, match=r"Known layouts: authors"):
        read_checkpoint(tmp_path / "unknown", arch="resnet10")
    torch.save([torch.zeros(1)], tmp_path / "list")
    with pytest.raises(zoo.ModelError, match="holds a list"):
        read_checkpoint(tmp_path / "list", arch="resnet10")
    torch.save({**net.state_dict(), "layer4.9.conv1.weight": BANK}, tmp_path / "flat")
    with pytest.raises(zoo.SettingsError, match="name it: alexnet"):
        read_checkpoint(tmp_path / "flat")
    with pytest.raises(zoo.SettingsError, match="unknown format"):
        convert(tmp_path / "flat", tmp_path / "out", arch="resnet10", format="onnx")
    zoo.save(zoo.create("resnet10", embed_dim=DIM), tmp_path / "small")
    with pytest.raises(zoo.SettingsError, match="imagenet stem"):
        convert(tmp_path / "small", tmp_path / "out.pkl", format="detectron2")


def test_our_directory_becomes_flat_torchvision_safetensors(net, tmp_path):
    zoo.save(net, tmp_path / "m", bank=BANK)
    report = convert(tmp_path / "m", tmp_path / "flat.safetensors", format="torchvision")
    assert all(
        torch.equal(v, load_file(tmp_path / "flat.safetensors")[k])
        for k, v in net.state_dict().items()
    )
    assert "bank" in report.notes[-1] and report.bank == (20, DIM)


def test_detectron2s_names(tmp_path):
    model = shaken(zoo.create("resnet50", embed_dim=DIM))
    zoo.save(model, tmp_path / "m")
    convert(tmp_path / "m", tmp_path / "d2.pkl", format="detectron2")
    content = pickle.loads((tmp_path / "d2.pkl").read_bytes())
    assert content["__author__"] == "npid-zoo" and content["matching_heuristics"] is True
    theirs, state = content["model"], model.state_dict()
    for name, own in {
        "stem.conv1.weight": "conv1.weight",
        "stem.conv1.norm.running_var": "bn1.running_var",
        "res2.0.conv3.norm.bias": "layer1.0.bn3.bias",
        "res2.0.shortcut.weight": "layer1.0.downsample.0.weight",
        "res5.0.shortcut.norm.running_mean": "layer4.0.downsample.1.running_mean",
        "res4.5.conv2.weight": "layer3.5.conv2.weight",
    }.items():
        assert np.array_equal(theirs[name], state[own].numpy())
    assert len(theirs) == sum("num_batches" not in k and not k.startswith("fc.") for k in state)
