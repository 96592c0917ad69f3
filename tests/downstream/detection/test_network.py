"""The zoo's networks inside detectron2: the same features, or refused."""

import pytest
import torch

import zoo
from downstream import detection
from tests.downstream.detection.detectors import (
    DEPTHS,
    POOLED,
    REDUCED,
    config,
    detector,
    error,
    ours,
)
from zoo import SettingsError
from zoo.models.backbone import BACKBONES

pytest.importorskip(
    "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
)


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_freezing_of_the_paper(model):
    from detectron2.config import get_cfg
    from detectron2.layers import FrozenBatchNorm2d
    from detectron2.modeling import build_model

    cfg = get_cfg()
    detection.add_npid_config(cfg)
    cfg.merge_from_file(str(detection.config_file("voc07_c4_frozen")))
    cfg.merge_from_list([*REDUCED, "MODEL.NPID.ARCH", "resnet18"])
    built = build_model(cfg)
    trained = {name for name, p in built.backbone.named_parameters() if p.requires_grad}
    assert trained and all(
        name.startswith("net.layer3.") for name in trained
    )  # conv1, res2 and res3 are still
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in built.modules())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in built.roi_heads.modules())


@pytest.mark.parametrize("name", ["base_c4", "base_fpn"])
def test_a_network_that_cannot_be_cut_is_refused_by_its_own_words(model, monkeypatch, name):
    def refuse(self):
        raise SettingsError("resnet18 has no head that reads regions")

    cfg = config(model("resnet18"), name)
    monkeypatch.setattr(BACKBONES["resnet18"], "trunk_and_head", refuse)
    with pytest.raises(SettingsError, match="resnet18 has no head that reads regions"):
        detector(cfg, load=False)
