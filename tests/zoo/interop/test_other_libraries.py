"""The same files in other libraries: each must give the features that ours gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from torchvision.models.resnet import BasicBlock, ResNet

import zoo
from zoo import cards
from zoo.hub import push

ROOT = Path(__file__).parents[3]
REPO = "lab/model"

# run with HF_ENDPOINT in the environment, which the libraries read when they are imported
OTHERS = """
import sys
import timm, torch
from transformers import AutoModel

repo, folder, root, half, out = sys.argv[1:]
x = torch.load(out, weights_only=True)["x"]
with torch.no_grad():
    make = lambda name, **more: timm.create_model(name, pretrained=True, **more).eval()(x)
    found = {
        "timm hub": make(f"hf-hub:{repo}"),
        "timm folder": make(f"local-dir:{folder}"),
        "timm half": make(f"local-dir:{half}"),
        "transformers half": AutoModel.from_pretrained(half).eval()(x).last_hidden_state,
        "timm pooled": make(f"hf-hub:{repo}", num_classes=0),
        "timm maps": make(f"hf-hub:{repo}", features_only=True),
        "transformers": AutoModel.from_pretrained(folder).eval()(x).last_hidden_state,
        "transformers hub": AutoModel.from_pretrained(repo).eval()(x).last_hidden_state,
        "torch.hub": torch.hub.load(root, "load", repo, source="local", trust_repo=True).embed(x),
    }
torch.save(found, out)
"""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = zoo.create("resnet18").eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model


@pytest.mark.slow
@torch.no_grad()
def test_timm_transformers_and_torch_hub_agree_with_us(hub, model, tmp_path):
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    folder = zoo.save(model, tmp_path / "model")
    half = zoo.save(model, tmp_path / "half", half=True)
    push(folder, REPO, endpoint=hub.url)
    x, out = torch.randn(2, 3, 64, 64), tmp_path / "out.pt"
    torch.save({"x": x}, out)
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-c", OTHERS, REPO, str(folder), str(ROOT), str(half), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found, ours = torch.load(out, weights_only=True), model.features(x)
    for name in ("timm hub", "timm folder"):
        torch.testing.assert_close(found[name], model(x))
    torch.testing.assert_close(found["timm pooled"], ours["res5"].mean((2, 3)))
    for theirs, own in zip(found["timm maps"], ours.values(), strict=True):
        torch.testing.assert_close(theirs, own)
    for name in ("transformers", "transformers hub"):
        torch.testing.assert_close(found[name], ours["res5"])
    assert torch.equal(found["torch.hub"], model.embed(x))
    halved = zoo.load(half)  # stored in half precision: all of them compute in single precision
    torch.testing.assert_close(found["timm half"], halved(x))
    torch.testing.assert_close(found["transformers half"], halved.features(x)["res5"])


class Mixed(ResNet, PyTorchModelHubMixin):
    """How a user of the mixin takes our files: torchvision's network by keys of config.json."""

    def __init__(self, embed_dim: int, **_):
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=embed_dim)


@torch.no_grad()
def test_the_hub_mixin_reads_our_directory_and_we_read_its_weights(model, tmp_path):
    folder = zoo.save(model, tmp_path / "model")
    theirs = Mixed.from_pretrained(folder, strict=True).eval()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(theirs(x), model(x))
    theirs.save_pretrained(tmp_path / "theirs")
    report = zoo.convert(
        tmp_path / "theirs" / "model.safetensors", tmp_path / "ours", arch="resnet18"
    )
    assert torch.equal(zoo.load(tmp_path / "ours").embed(x), model.embed(x)) and not report.missing


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("arch", ["resnet50", "vgg16"])
def test_each_family_gives_the_same_in_the_loaders_that_its_card_promises(arch, tmp_path):
    """A Bottleneck network and a plain one beside the ResNet-18 above."""
    timm = pytest.importorskip("timm")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = zoo.create(arch, embed_dim=8).eval()
    folder = zoo.save(model, tmp_path / arch)
    images = torch.randn(1, 3, 224, 224)
    ours = model(images)
    card = cards.render(folder)
    assert "timm.create_model" in card
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(images)
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    assert ("AutoModel.from_pretrained" in card) == model.transformers_compatible
    if model.transformers_compatible:
        loaded = transformers.AutoModel.from_pretrained(folder).eval()
        maps = loaded(images).last_hidden_state
        torch.testing.assert_close(maps, model.features(images)["res5"], atol=1e-4, rtol=1e-4)
