"""A backbone is found under any prefix that its tensors fit, and named by their shapes."""

import pytest
import torch
from torch import nn

import zoo
from tests.zoo.interop.checkpoints import prefixed, trunk
from zoo.interop.checkpoint import read_checkpoint

PREFIXES = (
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "module.encoder.",
    "module.base_encoder.",
    "encoder.module.",
    "net.",
    "0.",
    "model.student.backbone.body.",
)


def numbered(state, order):
    names = {}
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        names[f"{order.index(first)}.{rest}"] = tensor
    return names


def read(tmp_path, content, **options):
    torch.save(content, tmp_path / "file.pth")
    return read_checkpoint(tmp_path / "file.pth", **options)


@torch.no_grad()
@pytest.mark.parametrize("key", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix(net, tmp_path, key, prefix):
    state = prefixed(trunk(net.state_dict()), prefix)
    model, _, report = read(tmp_path, {key: state} if key else state)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model.features(x)["res5"], net.features(x)["res5"])
    assert report.arch == "resnet10"


@torch.no_grad()
@pytest.mark.parametrize("pool", ["maxpool", None])
def test_a_plain_sequence_of_modules(net, tmp_path, pool):
    order = ["conv1", "bn1", "relu", pool, "layer1", "layer2", "layer3", "layer4"]
    state = numbered(trunk(net.state_dict()), [name for name in order if name])
    model, _, _ = read(tmp_path, {"state_dict": prefixed(state, "backbone.")}, arch="resnet10")
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model.features(x)["res5"], net.features(x)["res5"])


@torch.no_grad()
def test_the_projection_under_the_same_prefix_is_used(net, tmp_path):
    model, _, report = read(tmp_path, {"weights": prefixed(net.state_dict(), "_orig_mod.")})
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(x), net(x)) and not report.missing


@torch.no_grad()
def test_of_two_that_fit_one_is_asked_for(net, tmp_path):
    state = trunk(net.state_dict())
    other = {name: tensor + 1 for name, tensor in state.items()}
    content = {
        "student": prefixed(state, "module.backbone."),
        "teacher": prefixed(other, "backbone."),
    }
    with pytest.raises(zoo.SettingsError) as caught:
        read(tmp_path, content)
    assert "'student.module.backbone.'" in str(caught.value)
    assert "'teacher.backbone.'" in str(caught.value) and "--prefix" in str(caught.value)
    for prefix in ("student.module.backbone.", "student.module.backbone", "module.backbone"):
        model, _, _ = read(tmp_path, content, prefix=prefix)
        assert torch.equal(model.conv1.weight, net.conv1.weight)
    model, _, _ = read(tmp_path, content, prefix="teacher.backbone")
    assert torch.equal(model.conv1.weight, net.conv1.weight + 1)
    with pytest.raises(zoo.SettingsError, match=r"no backbone under the prefix 'ema'; it fits"):
        read(tmp_path, content, prefix="ema")


def test_a_momentum_copy_is_not_the_network_that_is_meant(net, tmp_path):
    state = trunk(net.state_dict())
    other = {name: tensor + 1 for name, tensor in state.items()}
    content = prefixed(state, "module.base_encoder.") | prefixed(other, "module.momentum_encoder.")
    model, _, _ = read(tmp_path, {"state_dict": content}, arch="resnet10")
    assert torch.equal(model.conv1.weight, net.conv1.weight)


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "alexnet"])
def test_the_shapes_tell_the_backbone(tmp_path, arch):
    state = zoo.create(arch, embed_dim=4).state_dict()
    model, _, _ = read(tmp_path, prefixed(state, "encoder."))
    assert model.arch == arch
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_solo_learns_stem_for_small_images_pads_by_two(tmp_path):
    theirs = zoo.create("resnet18", stem="imagenet", embed_dim=4)
    theirs.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=2, bias=False)
    theirs.maxpool = nn.Identity()
    theirs.eval()
    x = torch.randn(2, 3, 32, 32)
    content = {"state_dict": prefixed(trunk(theirs.state_dict()), "backbone.")}
    model, _, report = read(tmp_path, content)
    assert model.stem == "cifar-pad2"
    assert torch.equal(model.features(x)["res5"], theirs.features(x)["res5"])
    assert model.feature_info[0].reduction == 1
    assert "padding" in report.notes[0] and "--stem: cifar" in report.notes[0]
    assert "a mean of 0.485, 0.456, 0.406 (--mean)" in report.notes[-1]
    zoo.save(model, tmp_path / "m")
    assert torch.equal(zoo.load(tmp_path / "m").features(x)["res5"], theirs.features(x)["res5"])
    model, _, _ = read(tmp_path, content, stem="cifar")
    assert model.conv1.padding == (1, 1)


def test_what_the_file_cannot_say_can_be_given(net, tmp_path):
    values = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    model, _, report = read(tmp_path, net.state_dict(), **values)
    assert (model.input.size, model.input.mean, model.input.std) == tuple(values.values())
    assert not any("assumed" in note for note in report.notes)
    model, _, report = read(tmp_path, net.state_dict(), size=32)
    assert "assumed: a mean of" in report.notes[-1]
    for wrong in ({"mean": (0.5,)}, {"std": (0.2, 0, 0.2)}, {"size": 0}):
        with pytest.raises(zoo.SettingsError):
            read(tmp_path, net.state_dict(), **wrong)
