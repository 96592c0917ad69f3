"""Each layout is synthesised with its exact wrapper and names from a known network."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

import zoo
from zoo.interop.checkpoint import read_checkpoint
from zoo.interop.convert import convert

DIM = 8


def shaken(model):
    """Running statistics away from 0 and 1, so that a forgotten buffer shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return shaken(zoo.create("resnet10", embed_dim=DIM, stem="imagenet"))


BANK = F.normalize(torch.randn(20, DIM, generator=torch.manual_seed(1)))


def bank_module(module, **buffers):
    """A pickled memory bank as the authors' scripts save it: a module of a class we do not have."""
    library = types.ModuleType(f"lib.{module}")
    kind = type(module, (nn.Module,), {"__module__": library.__name__})
    setattr(library, module, kind)
    sys.modules["lib"], sys.modules[library.__name__] = types.ModuleType("lib"), library
    bank = kind()
    for name, value in buffers.items():
        bank.register_buffer(name, value)
    return bank


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def trunk(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def head(state, prefix):
    return {prefix + kind: state[f"fc.{kind}"] for kind in ("weight", "bias")}


def lemniscate(s):
    bank = bank_module("NCEAverage", params=torch.tensor([4096, 0.07, 1e4, 0.5]), memory=BANK)
    optimizer = {
        "state": {0: {"momentum_buffer": torch.zeros(3)}},
        "param_groups": [{"lr": 0.03, "params": [0]}],
    }
    state = prefixed(s, "module.")
    return {
        "epoch": 3,
        "arch": "resnet10",
        "state_dict": state,
        "lemniscate": bank,
        "optimizer": optimizer,
    }


def linear_average(s):
    return lemniscate(s) | {
        "lemniscate": bank_module("LinearAverage", params=torch.tensor([0.07, 0.5]), memory=BANK)
    }


def moco(s, mlp=False):
    wide = {"fc.0.weight": torch.randn(256, 256), "fc.0.bias": torch.randn(256)} if mlp else {}
    last = head(s, "fc.2.") if mlp else head(s, "fc.")
    both = {
        name: value
        for which in ("encoder_k.", "encoder_q.")
        for name, value in prefixed(trunk(s) | wide | last, f"module.{which}").items()
    }
    queue = {
        "module.queue": torch.randn(DIM, 32),
        "module.queue_ptr": torch.zeros(1, dtype=torch.long),
    }
    return {"epoch": 1, "arch": "resnet10", "state_dict": both | queue, "optimizer": {}}


def vissl(s, inner=""):
    model = {"trunk": prefixed(trunk(s), f"{inner}_feature_blocks."), "heads": head(s, "0.clf.0.")}
    loss = {"nce_average.memory": BANK, "nce_average.params": torch.tensor([4096, 0.07, -1, 0.5])}
    return {"classy_state_dict": {"base_model": {"model": model}, "loss": loss}}


def mmselfsup(s):
    state = (
        prefixed(trunk(s), "backbone.") | head(s, "neck.fc.") | {"memory_bank.feature_bank": BANK}
    )
    return {"meta": {"epoch": 2}, "state_dict": state}


def pycontrast(s):
    state = prefixed(trunk(s), "module.encoder.") | head(s, "module.head.0.")
    return {"model": state, "contrast": {"memory": BANK}, "epoch": 5}


# name: (layout that must be recognised, how to make it, has a projection, has a bank)
CASES = {
    "lemniscate": ("authors, ImageNet (lemniscate)", lemniscate, True, True),
    "linear average": ("authors, ImageNet (lemniscate)", linear_average, True, True),
    "moco v1": ("MoCo v1", moco, True, False),
    "moco v2": ("MoCo v2", lambda s: moco(s, mlp=True), False, False),
    "vissl": ("VISSL", vissl, True, True),
    "vissl inner": ("VISSL", lambda s: vissl(s, "base_model."), True, True),
    "vissl converted": ("VISSL, converted", lambda s: {"model_state_dict": trunk(s)}, False, False),
    "mmselfsup": ("mmselfsup", mmselfsup, True, True),
    "mmselfsup trunk": ("mmselfsup", lambda s: {"state_dict": trunk(s), "meta": {}}, False, False),
    "pycontrast": ("PyContrast", pycontrast, True, True),
    "lightning": (
        "solo-learn / Lightning",
        lambda s: {
            "state_dict": prefixed(trunk(s), "backbone."),
            "pytorch-lightning_version": "2.0",
        },
        False,
        False,
    ),
    "solo old": (
        "solo-learn / Lightning",
        lambda s: {"state_dict": prefixed(trunk(s), "encoder.")},
        False,
        False,
    ),
    "torchvision": ("torchvision or timm", lambda s: s, True, False),
    "torchvision trunk": ("torchvision or timm", trunk, False, False),
    "parallel": (
        "torchvision or timm",
        lambda s: {"state_dict": prefixed(s, "module.")},
        True,
        False,
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", CASES)
def test_every_layout_gives_the_features_of_its_network(net, tmp_path, case, zipped):
    layout, make, has_head, has_bank = CASES[case]
    torch.save(make(net.state_dict()), tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    report = convert(tmp_path / "file.pth", tmp_path / "out", arch="resnet10")
    assert (
        report.layout == layout
        and report.stem == "imagenet"
        and f"layout of {layout}" in report.lines()[0]
    )
    model = zoo.load(tmp_path / "out")
    x = torch.randn(2, 3, 64, 64)
    for name, expected in net.features(x).items():
        assert torch.equal(model.features(x)[name], expected)
    if has_head:
        assert torch.equal(model(x), net(x)) and not report.missing
    else:
        pooled = net.features(x)["res5"].mean((2, 3))
        torch.testing.assert_close(model(x), pooled)
        assert report.missing == ["fc.weight", "fc.bias"] and "identity" in " ".join(report.notes)
    bank = zoo.load_bank(tmp_path / "out")
    assert (bank is not None) == has_bank == (report.bank is not None)
    assert bank is None or torch.equal(bank, BANK)
    assert model.meta["converted"]["layout"] == layout


class Cifar(nn.Module):
    """The authors' CIFAR network: ``shortcut`` and ``linear``, a 3×3 stem and no max-pool."""

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.conv1, self.bn1 = (
                nn.Conv2d(cin, cout, 3, stride, 1, bias=False),
                nn.BatchNorm2d(cout),
            )
            self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
            self.shortcut = nn.Sequential()
            if stride != 1 or cin != cout:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
                )

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + self.shortcut(x))

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        width = 64
        for i in range(4):
            blocks = [self.Block(width, 64 << i, 1 + (i > 0)), self.Block(64 << i, 64 << i, 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            width = 64 << i
        self.linear = nn.Linear(512, DIM)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return F.normalize(self.linear(F.avg_pool2d(x, 4).flatten(1)))


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_the_authors_cifar_file(tmp_path, prefix):
    theirs = shaken(Cifar())
    bank = bank_module("NCEAverage", memory=BANK, params=torch.tensor([4096, 0.1, 1e4, 0.5]))
    content = {
        "net": prefixed(theirs.state_dict(), prefix),
        "lemniscate": bank,
        "acc": 80.8,
        "epoch": 199,
    }
    torch.save(content, tmp_path / "ckpt.t7", _use_new_zipfile_serialization=False)
    model, found, report = read_checkpoint(tmp_path / "ckpt.t7", arch="resnet18")
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.embed(x), theirs(x))
    assert torch.equal(found, BANK) and report.stem == model.stem == "cifar"
    assert (
        model.input.mean == (0.4914, 0.4822, 0.4465)
        and model.meta["converted"]["bank_params"][0] == 4096
    )
    assert report.layout == "authors, CIFAR (lemniscate)" and "stride" in report.notes[0]


@torch.no_grad()
def test_half_precision_and_a_file_from_before_batch_counters(net, tmp_path):
    state = {k: v.half() for k, v in net.state_dict().items() if "num_batches" not in k}
    torch.save({"state_dict": state, "arch": "resnet10"}, tmp_path / "f")
    model, _, report = read_checkpoint(tmp_path / "f")  # the file names its backbone
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(x), net(x), rtol=0.02, atol=0.02)
    assert next(model.parameters()).dtype == torch.float32
    assert report.missing and all(name.endswith("num_batches_tracked") for name in report.missing)


@torch.no_grad()
@pytest.mark.parametrize("arch", ["alexnet", "resnet50"])
def test_torchvisions_own_networks(tmp_path, arch):
    theirs = shaken(getattr(torchvision.models, arch)(num_classes=DIM))
    save_file(theirs.state_dict(), tmp_path / "in.safetensors")
    report = convert(tmp_path / "in.safetensors", tmp_path / "out", arch=arch)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(zoo.load(tmp_path / "out")(x), theirs(x))
    assert not report.missing and not report.ignored


@torch.no_grad()
def test_timms_resnet(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = shaken(timm.create_model("resnet18", num_classes=DIM))
    torch.save(theirs.state_dict(), tmp_path / "f")
    model, _, _ = read_checkpoint(tmp_path / "f", arch="resnet18")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(x), theirs(x))


def test_the_report_says_what_was_ignored(net, tmp_path):
    torch.save(moco(net.state_dict()), tmp_path / "f")
    text = "\n".join(read_checkpoint(tmp_path / "f", arch="resnet10")[2].lines())
    assert (
        "state_dict.module.*" in text.replace("×", "*")
        and "no memory bank" in text
        and "memory bank: none" in text
    )
    torch.save(lemniscate(net.state_dict()), tmp_path / "f")
    assert "optimizer.state" in "\n".join(read_checkpoint(tmp_path / "f")[2].lines())


def test_a_bank_of_another_width_is_left_out_and_said(net, tmp_path):
    content = pycontrast(net.state_dict()) | {"contrast": {"memory": torch.randn(4, DIM + 1)}}
    torch.save(content, tmp_path / "f")
    _, bank, report = read_checkpoint(tmp_path / "f", arch="resnet10")
    assert (
        bank is None and "does not fit" in report.notes[0] and "contrast.memory" in report.ignored
    )


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
    torch.save(net.state_dict(), tmp_path / "flat")
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
