"""The zoo's networks as detectron2 backbones and RoI heads.

A zoo network is cut in two: the layers up to the last feature map asked for are the backbone, what remains without
the projection is the RoI head (res5 for ResNets; fc6 and fc7 for AlexNet and VGG16). Both halves are the zoo's own
modules under torchvision's names, so no block, stride or name can differ from what was pretrained.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.config import configurable
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, FPN, ROI_BOX_HEAD_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn

import zoo
from zoo import SettingsError

NORMS = ("FrozenBN", "BN", "SyncBN")
# what detectron2's ResNet can vary and a pretrained network cannot
_FIXED = {
    "STRIDE_IN_1X1": False,
    "NUM_GROUPS": 1,
    "WIDTH_PER_GROUP": 64,
    "RES5_DILATION": 1,
    "DEFORM_ON_PER_STAGE": [False] * 4,
}


def _norms(root: nn.Module) -> Iterator[tuple[nn.Module, str, nn.BatchNorm2d]]:
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                yield parent, name, child


def _prune(root: nn.Module, keep: set[int]) -> None:
    """Put identities in the places of all modules but those whose ``id`` is in ``keep``, and what holds them."""
    for name, child in list(root.named_children()):
        if not any(id(module) in keep for module in child.modules()):
            setattr(root, name, nn.Identity())
        elif id(child) not in keep:
            _prune(child, keep)


def _set_norm(root: nn.Module, norm: str, frozen: set[int]) -> None:
    """Put a detectron2 norm in the place of every BatchNorm2d; those whose ``id`` is in ``frozen`` become FrozenBN."""
    for parent, name, old in _norms(root):
        new = FrozenBatchNorm2d if id(old) in frozen else lambda width: get_norm(norm, width)
        setattr(parent, name, new(old.num_features))


def _norm_of(cfg: Any) -> str:
    norm = cfg.MODEL.RESNETS.NORM
    if norm not in NORMS:
        raise SettingsError(
            f"MODEL.RESNETS.NORM is {norm!r}; pretrained norms can become: {', '.join(NORMS)}"
        )
    return norm


def _create(cfg: Any) -> zoo.Backbone:
    for key, only in _FIXED.items():
        if cfg.MODEL.RESNETS[key] != only:
            raise SettingsError(
                f"MODEL.RESNETS.{key} is {cfg.MODEL.RESNETS[key]}, but the zoo's networks were trained with {only}; "
                f"set it to {only}"
            )
    return zoo.create(cfg.MODEL.NPID.ARCH, embed_dim=1, stem=cfg.MODEL.NPID.STEM or None)


class NpidBackbone(Backbone):
    """The lower layers of a zoo network.

    Attributes:
        net: the zoo network; what lies above the last layer asked for is replaced by identities.
    """

    def __init__(
        self,
        net: zoo.Backbone,
        layers: Sequence[str],
        *,
        norm: str = "FrozenBN",
        freeze_at: int = 0,
    ) -> None:
        """
        Args:
            net: as ``zoo.create`` makes it.
            layers: whose activations to return, out of ``net.layers``.
            norm: one of ``NORMS``.
            freeze_at: how many stages, from conv1 on, take no gradient and keep their norms' statistics.

        Raises:
            SettingsError: for a layer that the network does not have.
        """
        super().__init__()
        shapes = _shapes(net, layers)
        stages = [stage.modules for stage in net.trunk_and_head().stages]
        kept = stages[: 1 + max(net.layers.index(name) for name in layers)]
        keep = {id(module) for stage in kept for part in stage for module in part.modules()}
        still = [part for stage in kept[:freeze_at] for part in stage]
        _prune(net, keep)
        for part in still:
            part.requires_grad_(False)
        _set_norm(net, norm, {id(module) for part in still for module in part.modules()})
        self.net = net
        self._out_features = list(layers)
        self._out_feature_channels = {name: shape.channels for name, shape in shapes.items()}
        self._out_feature_strides = {name: shape.stride for name, shape in shapes.items()}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """{layer: B×C×H×W} of normalised images B×3×H×W."""
        return self.net.features(x, self._out_features)


def _shapes(net: zoo.Backbone, layers: Sequence[str]) -> dict[str, ShapeSpec]:
    """Channels and stride of each layer.

    Raises:
        SettingsError: for a layer that the network does not have.
    """
    shapes = {
        info.name: ShapeSpec(channels=info.channels, stride=info.reduction)
        for info in net.feature_info
    }
    unknown = [name for name in layers if name not in shapes]
    if unknown:
        raise SettingsError(
            f"{net.arch} has no layer {', '.join(unknown)}; it has {', '.join(shapes)}"
        )
    return {name: shapes[name] for name in layers}


@BACKBONE_REGISTRY.register()
def build_npid_backbone(cfg: Any, input_shape: ShapeSpec) -> NpidBackbone:
    """``MODEL.NPID.ARCH`` up to the last of ``MODEL.RESNETS.OUT_FEATURES``.

    Raises:
        SettingsError: for settings that a zoo network cannot have.
    """
    if input_shape.channels != 3:
        raise SettingsError(
            f"the zoo's networks see 3 channels, MODEL.PIXEL_MEAN has {input_shape.channels}"
        )
    return NpidBackbone(
        _create(cfg),
        cfg.MODEL.RESNETS.OUT_FEATURES,
        norm=_norm_of(cfg),
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_npid_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """A feature pyramid over a ResNet (Lin et al. 2017), its top level by max-pooling the one below.

    Raises:
        SettingsError: for settings that a zoo network cannot have, or levels that its strides do not give.
    """
    pyramid = FPN(
        bottom_up=build_npid_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
    levels = list(pyramid.output_shape())  # named by their strides: p2 has 4
    for key in ("RPN", "ROI_HEADS"):
        if lacking := [name for name in cfg.MODEL[key].IN_FEATURES if name not in levels]:
            net = pyramid.bottom_up.net
            raise SettingsError(
                f"MODEL.{key}.IN_FEATURES asks for {', '.join(lacking)}, but the pyramid over a {net.arch} with "
                f"{net.stem} stem has {', '.join(levels)}; name those, or take a model with the imagenet stem"
            )
    return pyramid


@ROI_BOX_HEAD_REGISTRY.register()
class NpidBoxHead(nn.Module):
    """The upper layers of a zoo network as a box head: res5, an optional norm and average pooling for ResNets, whose
    blocks are Basic or Bottleneck as the network has them; fc6 and fc7 for AlexNet and VGG16.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, net: zoo.Backbone, norm: str, extra_norm: bool
    ) -> None:
        """
        Args:
            input_shape: of the pooled regions: channels, height, width.
            net: as ``zoo.create`` makes it.
            norm: one of ``NORMS``.
            extra_norm: whether a norm follows res5.

        Raises:
            SettingsError: if the network does not go on from such regions.
        """
        super().__init__()
        cut = net.trunk_and_head()
        width = net.feature_dim
        self.net = cut.head
        _set_norm(self.net, norm, set())
        self.convolutional = cut.head_resolution is None
        got = input_shape.channels
        expected = _shapes(net, [cut.head_input])[cut.head_input].channels
        hint = f"let the RoI heads read {cut.head_input}"
        if cut.head_resolution is not None:
            got *= input_shape.height * input_shape.width
            expected *= cut.head_resolution**2
            hint += f", with a POOLER_RESOLUTION of {cut.head_resolution}"
        if got != expected:
            raise SettingsError(
                f"the box head of {net.arch} reads {expected} values, the pooled regions give {got}; {hint}"
            )
        self.norm = get_norm(norm, width) if extra_norm and self.convolutional else nn.Identity()
        self.output_shape = ShapeSpec(channels=width)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        return {
            "input_shape": input_shape,
            "net": _create(cfg),
            "norm": _norm_of(cfg),
            "extra_norm": cfg.MODEL.NPID.EXTRA_NORM,
        }

    def forward(self, x: Tensor) -> Tensor:
        """R×F features of R pooled regions (R×C×P×P)."""
        if not self.convolutional:
            return self.net(x)
        return self.norm(self.net(x)).mean((2, 3))
