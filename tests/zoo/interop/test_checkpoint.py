import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.interop.checkpoints import BANK, DIM, bank_module, prefixed, pycontrast, shaken
from zoo.interop.checkpoint import read_checkpoint


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
def test_timms_resnet(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = shaken(timm.create_model("resnet18", num_classes=DIM))
    torch.save(theirs.state_dict(), tmp_path / "f")
    model, _, _ = read_checkpoint(tmp_path / "f", arch="resnet18")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(x), theirs(x))


def test_a_bank_of_another_width_is_left_out_and_said(net, tmp_path):
    content = pycontrast(net.state_dict()) | {"contrast": {"memory": torch.randn(4, DIM + 1)}}
    torch.save(content, tmp_path / "f")
    _, bank, report = read_checkpoint(tmp_path / "f", arch="resnet10")
    assert (
        bank is None and "does not fit" in report.notes[0] and "contrast.memory" in report.ignored
    )
