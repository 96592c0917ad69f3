"""The zoo's networks inside detectron2: the same features, strictly loaded, or refused."""

import numpy as np
import pytest
import torch
from torch import nn

import zoo
import zoo.data.images
from downstream import detection
from downstream.detection import data
from zoo import ModelError, SettingsError

pytest.importorskip(
    "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
)

DEPTHS = [
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "alexnet",
]
POOLED = {"alexnet": 6, "vgg16": 7}


def config(path, name="base_c4", **options):
    """A config for the model in a folder, with few regions."""
    from detectron2.config import get_cfg

    cfg = get_cfg()
    detection.add_npid_config(cfg)
    cfg.merge_from_file(
        str(
            detection.config_file(name)
            if "base" not in name
            else detection.CONFIGS / f"{name}.yaml"
        )
    )
    detection.adopt(cfg, path)
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.NORM, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "cpu", "FrozenBN", 2
    for key, value in options.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def detector(cfg, load=True):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    torch.manual_seed(1)
    built = build_model(cfg)
    if load:
        DetectionCheckpointer(built).load(cfg.MODEL.WEIGHTS)
    return built.eval()


@pytest.fixture(scope="session")
def photo(bccd):
    """A real image, as its file and as the zoo reads it, cut to 3×96×64 (uint8)."""
    file = data.read(bccd)[1].records[0].file
    pixels = np.asarray(zoo.data.images.read(file))[100:196, 200:264]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def ours(net, photo):
    """Every layer's features of an image as the zoo computes them."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (net.input.mean, net.input.std))
    return net.features(((photo / 255 - mean) / std)[None])


def theirs(built, photo):
    """The same inside detectron2: its normalisation, the backbone, and res5 in the RoI head."""
    images = built.preprocess_image([{"image": photo}])
    found = built.backbone(images.tensor)
    head = built.roi_heads.box_head
    return found | ({"res5": head.net(found["res4"])} if "res4" in found else {})


def error(built, net, photo):
    """The largest difference of any layer, relative to the layer's largest value."""
    found, expected = theirs(built, photo), ours(net, photo)
    assert set(found) == set(expected)
    return max(
        float((found[k] - expected[k]).abs().max() / expected[k].abs().max()) for k in expected
    )


@torch.no_grad()
@pytest.mark.parametrize("arch", DEPTHS)
def test_features_inside_detectron2_are_the_zoos(model, photo, arch):
    path = model(arch, input=zoo.InputSpec(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)))
    net = zoo.load(path)
    plain = arch in POOLED
    cfg = config(path, f"base_{arch}" if plain else "base_c4")
    cfg.MODEL.RESNETS.OUT_FEATURES = list(net.layers if plain else net.layers[:-1])
    built = detector(cfg)
    assert error(built, net, photo) <= 1e-5
    strides = {name: shape.stride for name, shape in built.backbone.output_shape().items()}
    small = arch == "resnet10"
    expected = (
        {"conv5": 16}
        if plain
        else {"conv1": 2, "res2": 2 if small else 4, "res4": 8 if small else 16}
    )
    assert expected.items() <= strides.items()
    channels = {name: shape.channels for name, shape in built.backbone.output_shape().items()}
    assert channels == {
        name: x.shape[1] for name, x in ours(net, photo).items() if name in channels
    }
    if plain:  # fc6 and fc7, on the pooled regions of torchvision's own size
        pooled = torch.rand(2, 256 if arch == "alexnet" else 512, POOLED[arch], POOLED[arch])
        fc7 = net.classifier[:-1](pooled.flatten(1))
        assert (built.roi_heads.box_head(pooled) - fc7).abs().max() <= 1e-5 * fc7.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "SyncBN"])
def test_a_pyramid_stands_on_the_zoos_features(model, photo, norm):
    path = model("resnet18")
    net = zoo.load(path)
    built = detector(config(path, "base_fpn", MODEL__RESNETS__NORM=norm))
    found = built.backbone.bottom_up(built.preprocess_image([{"image": photo}]).tensor)
    expected = ours(net, photo)
    assert list(found) == ["res2", "res3", "res4", "res5"]
    assert all(
        (found[k] - expected[k]).abs().max() <= 1e-5 * expected[k].abs().max() for k in found
    )
    assert [shape.stride for shape in built.backbone.output_shape().values()] == [4, 8, 16, 32, 64]


def wrong_stride(built):
    block = built.backbone.net.layer2[
        0
    ]  # 1×1, then 3×3 with stride 2: the other way round is the older ResNet
    block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def wrong_order(built):
    built.backbone.net.conv1.weight.copy_(built.backbone.net.conv1.weight.flip(1))


def wrong_scale(built):
    built.pixel_std.fill_(1.0)


def wrong_mean(built):
    built.pixel_mean.fill_(0.0)


@torch.no_grad()
@pytest.mark.parametrize("sabotage", [wrong_stride, wrong_order, wrong_scale, wrong_mean])
def test_the_comparison_sees_a_wrong_stride_order_or_scale(model, photo, sabotage):
    path = model("resnet50")
    cfg = config(path)
    cfg.MODEL.RESNETS.OUT_FEATURES = ["conv1", "res2", "res3", "res4"]
    built = detector(cfg)
    assert error(built, zoo.load(path), photo) <= 1e-5
    sabotage(built)
    assert error(built, zoo.load(path), photo) > 1e-2


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


def test_a_pyramid_over_a_small_stem_and_a_pooler_of_the_wrong_size_say_what_would_fit(model):
    with pytest.raises(
        SettingsError, match=r"asks for p6, but .* resnet10 with small stem has p1, p2, p3, p4, p5"
    ):
        detector(config(model("resnet10"), "base_fpn"), load=False)
    with pytest.raises(
        SettingsError, match="box head of alexnet reads 9216 values, the pooled regions give 12544"
    ):
        detector(
            config(model("alexnet"), "base_alexnet", MODEL__ROI_BOX_HEAD__POOLER_RESOLUTION=7),
            load=False,
        )


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


@pytest.mark.parametrize("arch", ["resnet18", "vgg16"])
def test_frozen_stages_take_no_gradient_and_keep_their_statistics(model, photo, arch):
    from downstream.detection.network import NpidBackbone

    net = zoo.load(model(arch))
    layers = net.layers[:4]
    trunk = NpidBackbone(net, [layers[-1]], norm="BN", freeze_at=2).train()
    frozen = (
        {"conv1", "bn1", "layer1"} if arch == "resnet18" else {f"features.{i}" for i in range(9)}
    )

    def is_frozen(name):
        return any(name.startswith(f"net.{part}.") for part in frozen)

    before = {name: t.clone() for name, t in trunk.state_dict().items()}
    trunk(photo[None].float())[layers[-1]].sum().backward()
    assert {is_frozen(name) for name, p in trunk.named_parameters() if p.grad is None} <= {True}
    assert not any(is_frozen(name) for name, p in trunk.named_parameters() if p.grad is not None)
    assert any(p.grad is not None for p in trunk.parameters())
    moved = {name for name, t in trunk.state_dict().items() if not torch.equal(t, before[name])}
    assert not any(is_frozen(name) for name in moved)
    assert any("running_mean" in name for name in moved) == (arch == "resnet18")
    assert not any(
        name.startswith(("net.layer4", "net.classifier", "net.fc")) for name in trunk.state_dict()
    )
