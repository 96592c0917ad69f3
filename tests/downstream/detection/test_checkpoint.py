"""Zoo models as weights of a detector: strictly loaded, or refused."""

import pytest
import torch
from torch import nn

import zoo
from downstream import detection
from tests.downstream.detection.detectors import config, detector
from zoo import ModelError, SettingsError

pytest.importorskip(
    "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
)


@pytest.mark.parametrize(
    ("key", "value", "kind", "said"),
    [
        ("MODEL.RESNETS.STRIDE_IN_1X1", True, SettingsError, "STRIDE_IN_1X1 is True"),
        ("INPUT.FORMAT", "BGR", ModelError, "INPUT.FORMAT is BGR, the model needs RGB"),
        (
            "MODEL.PIXEL_STD",
            [1.0, 1.0, 1.0],
            ModelError,
            r"PIXEL_STD is \[1.0, 1.0, 1.0\], the model needs \[58.395",
        ),
        (
            "MODEL.PIXEL_MEAN",
            [0.485, 0.456, 0.406],
            ModelError,
            r"PIXEL_MEAN is .* the model needs \[123.675",
        ),
        (
            "MODEL.NPID.STEM",
            "cifar",
            ModelError,
            "resnet18 with cifar stem, the model is a resnet18 with imagenet",
        ),
        ("MODEL.NPID.ARCH", "resnet34", ModelError, "give resnet34 .* the model is a resnet18"),
        ("MODEL.RESNETS.NORM", "GN", SettingsError, "NORM is 'GN'; pretrained norms can become"),
        ("MODEL.RESNETS.OUT_FEATURES", ["res9"], SettingsError, "resnet18 has no layer res9"),
        (
            "MODEL.BACKBONE.NAME",
            "build_resnet_backbone",
            ModelError,
            "builds no backbone of the zoo",
        ),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(model, key, value, kind, said):
    cfg = config(model("resnet18"))
    cfg.merge_from_list([key, value])
    if key == "MODEL.BACKBONE.NAME":
        cfg.merge_from_list(["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64])
        cfg.merge_from_list(
            ["MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead", "MODEL.ROI_BOX_HEAD.NUM_FC", 1]
        )
    with pytest.raises(kind, match=said):
        detector(cfg)


def test_a_model_with_other_tensors_is_refused_with_every_one_listed_and_nothing_loaded(model):
    from safetensors.torch import load_file, save_file

    path = model("resnet18")
    tensors = load_file(path / "model.safetensors")
    cfg = config(path)
    built = detector(cfg, load=False)
    before = {name: t.clone() for name, t in built.state_dict().items()}
    net = zoo.load(path)
    for name in ("layer1.0.bn1", "layer4.1.bn2"):  # a network of this name, but with other tensors
        parent, child = name.rsplit(".", 1)
        setattr(
            net.get_submodule(parent), child, nn.GroupNorm(4, tensors[f"{name}.weight"].numel())
        )
    net.layer3[0].conv1 = nn.Conv2d(128, 7, 3)
    net.conv1.weight.data[0, 0, 0, 0] = float("nan")
    from downstream.detection import checkpoint

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ModelError) as caught:
        patch.setattr(zoo, "load", lambda _: net)
        checkpoint.load_zoo_model(built, path)
    message = str(caught.value)
    for name in (
        "layer1.0.bn1.running_mean",
        "layer1.0.bn1.running_var",
        "layer4.1.bn2.running_mean",
    ):
        assert name in message
    assert (
        "missing (4)" in message
        and "layer3.0.conv1.weight is (7, 128, 3, 3) instead of (256, 128, 3, 3)" in message
    )
    assert "not finite (1): conv1.weight" in message and "layer3.0.conv1.bias" in message
    assert all(torch.equal(t, before[name]) for name, t in built.state_dict().items())
    del tensors["layer2.0.conv1.weight"]
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(ModelError, match=r"layer2\.0\.conv1\.weight"):
        detector(cfg)


def test_every_place_is_filled_where_res5_has_two(model):
    path = model("resnet18")
    built = detector(
        config(path, MODEL__RESNETS__OUT_FEATURES=["res4", "res5"], MODEL__RESNETS__NORM="BN")
    )
    own = zoo.load(path).state_dict()
    state = built.state_dict()
    filled = {name: name.split(".net.")[1] for name in state if ".net." in name}
    assert sum(name.startswith("layer4.0.conv1.") for name in filled.values()) == 2
    assert all(torch.equal(state[name], own[inner]) for name, inner in filled.items())
    assert set(filled.values()) == {name for name in own if not name.startswith("fc.")}


def test_other_weights_are_still_detectron2s_business(model, tmp_path):
    from detectron2.checkpoint import DetectionCheckpointer

    detection.add_npid_config(config(model("resnet18")))  # twice is fine
    built = detector(config(model("resnet18")), load=False)
    state = {"model": {name: torch.full_like(t, 2) for name, t in built.state_dict().items()}}
    torch.save(state, tmp_path / "theirs.pth")
    DetectionCheckpointer(built).load(str(tmp_path / "theirs.pth"))
    assert (built.backbone.net.conv1.weight == 2).all()
    with pytest.raises((AssertionError, ValueError, OSError)):
        DetectionCheckpointer(built).load(str(tmp_path / "absent.pth"))
