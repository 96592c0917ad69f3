"""Each layout is synthesised with its exact wrapper and names from a known network."""

import pytest
import torch

import zoo
from tests.zoo.interop.checkpoints import (
    BANK,
    lemniscate,
    linear_average,
    mmselfsup,
    moco,
    prefixed,
    pycontrast,
    trunk,
    vissl,
)
from zoo.interop.convert import convert

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
