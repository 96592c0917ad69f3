"""The zoo's networks as detectron2 backbones and RoI heads.

A zoo network is cut where its ``trunk_and_head`` says: the layers up to the last feature map that
is requested are the backbone, what follows without the projection is the RoI head (res5 for
ResNets; fc6 and fc7 for AlexNet and VGG16). Both halves are the zoo's own modules under
torchvision's names, so no block, stride or name can differ from what was pretrained.
"""

from collections.abc import Sequence
from typing import Any

from detectron2.config import configurable
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, FPN, ROI_BOX_HEAD_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn

import zoo
from zoo.errors import SettingsError

NORMS = ("FrozenBN", "BN", "SyncBN")
# what detectron2's ResNet can vary and a pretrained network cannot
_FIXED_SETTINGS = {
    "STRIDE_IN_1X1": False,
    "NUM_GROUPS": 1,
    "WIDTH_PER_GROUP": 64,
    "RES5_DILATION": 1,
    "DEFORM_ON_PER_STAGE": [False] * 4,
}


class NpidBackbone(Backbone):
    """The lower layers of a zoo network.

    Attributes:
        net: the zoo network; what lies above the last layer requested is replaced by identities.
        shapes: channels and stride of each layer requested, lowest first.
    """

    def __init__(
        self,
        net: zoo.Backbone,
        layers: Sequence[str],
        *,
        norm: str = "FrozenBN",
        freeze_at: int = 0,
    ) -> None:
        """Cut a network, which is changed by it.

        Args:
            net: as ``zoo.create`` makes it.
            layers: whose activations to return, out of ``net.layers``.
            norm: one of ``NORMS``.
            freeze_at: how many stages, from conv1 on, take no gradient and keep their norms'
                statistics.

        Raises:
            SettingsError: for a layer that the network does not have, or a network that cannot be
                cut.
        """
        super().__init__()
        stages = net.trunk_and_head().stages
        shapes = _layer_shapes(net, layers)
        kept: list[nn.Module] = []
        frozen: list[nn.Module] = []
        remaining = set(layers)
        for number, stage in enumerate(stages):
            if not remaining:
                break
            remaining.discard(stage.name)
            kept += stage.modules
            if number < freeze_at:
                frozen += stage.modules
        _prune(net, _module_ids(kept))
        for module in frozen:
            module.requires_grad_(False)
        _replace_norms(net, norm, _module_ids(frozen))
        self.net = net
        self.shapes = shapes

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps of normalised images.

        Args:
            images: B×3×H×W.

        Returns:
            {layer: B×C×H'×W'}.
        """
        return self.net.features(images, list(self.shapes))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of each feature map, as detectron2 asks for them."""
        return dict(self.shapes)


@BACKBONE_REGISTRY.register()
def build_npid_backbone(cfg: Any, input_shape: ShapeSpec) -> NpidBackbone:
    """Build ``MODEL.NPID.ARCH`` up to the last of ``MODEL.RESNETS.OUT_FEATURES``.

    Raises:
        SettingsError: for settings that a zoo network cannot have.
    """
    if input_shape.channels != 3:
        raise SettingsError(
            f"the zoo's networks see 3 channels, MODEL.PIXEL_MEAN has {input_shape.channels}"
        )
    return NpidBackbone(
        _create_network(cfg),
        cfg.MODEL.RESNETS.OUT_FEATURES,
        norm=_norm_name(cfg),
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_npid_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """Build a feature pyramid (Lin et al. 2017), its top level by max-pooling the one below.

    Raises:
        SettingsError: for settings that a zoo network cannot have, or levels that its strides do
            not give.
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
        lacking = [name for name in cfg.MODEL[key].IN_FEATURES if name not in levels]
        if lacking:
            net = pyramid.bottom_up.net
            raise SettingsError(
                f"MODEL.{key}.IN_FEATURES asks for {', '.join(lacking)}, but the pyramid over a "
                f"{net.arch} with {net.stem} stem has {', '.join(levels)}; name those, or take a "
                "model with the imagenet stem"
            )
    return pyramid


@ROI_BOX_HEAD_REGISTRY.register()
class NpidBoxHead(nn.Module):
    """The upper layers of a zoo network as a box head, as the network's ``trunk_and_head`` has it.

    Heads that give maps (res5 of ResNets) are followed by an optional norm and average pooling;
    those that give vectors (fc6 and fc7 of AlexNet and VGG16) by nothing.

    Attributes:
        net: the head.
        norm: what follows it.
        output_shape: how wide the features are.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, net: zoo.Backbone, norm: str, extra_norm: bool
    ) -> None:
        """Cut the head off a network.

        Args:
            input_shape: of the pooled regions: channels, height, width.
            net: as ``zoo.create`` makes it.
            norm: one of ``NORMS``.
            extra_norm: whether a norm follows the head's maps.

        Raises:
            SettingsError: if the network does not go on from such regions.
        """
        super().__init__()
        parts = net.trunk_and_head()
        self.net = parts.head
        _replace_norms(self.net, norm, set())
        resolution = parts.head_resolution
        expected = _layer_shapes(net, [parts.head_input])[parts.head_input].channels
        actual = input_shape.channels
        hint = f"let the RoI heads read {parts.head_input}"
        if resolution is not None:
            expected *= resolution**2
            actual *= input_shape.height * input_shape.width
            hint += f", with a POOLER_RESOLUTION of {resolution}"
        if actual != expected:
            raise SettingsError(
                f"the box head of {net.arch} reads {expected} values, the pooled regions give "
                f"{actual}; {hint}"
            )
        width = net.feature_dim
        has_norm = extra_norm and resolution is None
        self.norm = get_norm(norm, width) if has_norm else nn.Identity()
        self.output_shape = ShapeSpec(channels=width)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Read the arguments of ``__init__`` off a detectron2 config."""
        return {
            "input_shape": input_shape,
            "net": _create_network(cfg),
            "norm": _norm_name(cfg),
            "extra_norm": cfg.MODEL.NPID.EXTRA_NORM,
        }

    def forward(self, regions: Tensor) -> Tensor:
        """Compute R×F features of R pooled regions (R×C×P×P)."""
        features: Tensor = self.net(regions)
        if features.ndim == 2:
            return features
        maps: Tensor = self.norm(features)
        return maps.mean((2, 3))


def _create_network(cfg: Any) -> zoo.Backbone:
    for key, expected in _FIXED_SETTINGS.items():
        value = cfg.MODEL.RESNETS[key]
        if value != expected:
            raise SettingsError(
                f"MODEL.RESNETS.{key} is {value}, but the zoo's networks were trained with "
                f"{expected}; set it to {expected}"
            )
    return zoo.create(cfg.MODEL.NPID.ARCH, embed_dim=1, stem=cfg.MODEL.NPID.STEM or None)


def _norm_name(cfg: Any) -> str:
    norm: str = cfg.MODEL.RESNETS.NORM
    if norm not in NORMS:
        raise SettingsError(
            f"MODEL.RESNETS.NORM is {norm!r}; pretrained norms can become: {', '.join(NORMS)}"
        )
    return norm


def _layer_shapes(net: zoo.Backbone, layers: Sequence[str]) -> dict[str, ShapeSpec]:
    """Channels and stride of each layer.

    Raises:
        SettingsError: for a layer that the network does not have.
    """
    unknown = [name for name in layers if name not in net.layers]
    if unknown:
        raise SettingsError(
            f"{net.arch} has no layer {', '.join(unknown)}; it has {', '.join(net.layers)}"
        )
    shapes = {}
    for info in net.feature_info:
        if info.name in layers:
            shapes[info.name] = ShapeSpec(channels=info.channels, stride=info.reduction)
    return shapes


def _module_ids(modules: Sequence[nn.Module]) -> set[int]:
    """The ``id`` of these modules and of all within them."""
    ids = set()
    for module in modules:
        for inner in module.modules():
            ids.add(id(inner))
    return ids


def _prune(root: nn.Module, kept_ids: set[int]) -> None:
    """Replace all modules but those with these ids, and what holds them, by identities."""
    for name, child in list(root.named_children()):
        if _module_ids([child]).isdisjoint(kept_ids):
            setattr(root, name, nn.Identity())
        elif id(child) not in kept_ids:
            _prune(child, kept_ids)


def _replace_norms(root: nn.Module, norm: str, frozen_ids: set[int]) -> None:
    """Replace every BatchNorm2d by a detectron2 norm; those with these ids by FrozenBN."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                frozen = id(child) in frozen_ids
                width = child.num_features
                new = FrozenBatchNorm2d(width) if frozen else get_norm(norm, width)
                setattr(parent, name, new)
