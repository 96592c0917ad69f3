"""ResNets (He et al. 2016, arXiv 1512.03385): torchvision's class and key names, three stems."""

from collections import OrderedDict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.resnet import BasicBlock, Bottleneck

from zoo.models.backbone import BACKBONES, FeatureInfo, InputSpec, Stage, TrunkAndHead
from zoo.models.staged import StagedBackbone

_TORCHVISION_WIDTHS = (64, 128, 256, 512)
_FULL_RESOLUTION = ("cifar", "cifar-pad2")  # stems that keep the images' resolution


class ResNet(StagedBackbone, resnet.ResNet):
    """What the depths have in common.

    The stems: ``imagenet`` is 7×7 with stride 2 and a max-pool; ``cifar`` is the authors' 3×3
    without a max-pool; ``small`` is the same at half the resolution, for CPUs; ``cifar-pad2`` is
    the authors' with two pixels of padding, as solo-learn has it.

    Attributes:
        block: torchvision's class of residual blocks.
        depths: blocks in each of the four stages.
        widths: channels of each stage, before the block's expansion.
    """

    stems = {"imagenet": 7, "cifar": 3, "small": 3, "cifar-pad2": 3}
    first_conv = "conv1"
    projection = "fc"
    timm_classifier = "fc"
    block: ClassVar[type[BasicBlock] | type[Bottleneck]]
    depths: ClassVar[tuple[int, int, int, int]]
    widths: ClassVar[tuple[int, int, int, int]] = _TORCHVISION_WIDTHS

    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    avgpool: nn.Module

    def __init__(self, embed_dim: int, stem: str, input: InputSpec) -> None:
        super().__init__(
            embed_dim,
            stem,
            input,
            block=self.block,
            layers=list(self.depths),
            num_classes=embed_dim,
        )
        kernel = self.stems[stem]
        stride = 1 if stem in _FULL_RESOLUTION else 2
        padding = 2 if stem == "cifar-pad2" else kernel // 2
        self.conv1 = nn.Conv2d(3, self.widths[0], kernel, stride, padding, bias=False)
        if stem != "imagenet":
            self.maxpool = nn.Identity()
        if self.widths != _TORCHVISION_WIDTHS:
            self._set_widths()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _set_widths(self) -> None:
        """Rebuild everything above the first convolution; torchvision fixes the stages' widths."""
        self.inplanes = self.widths[0]
        self.bn1 = nn.BatchNorm2d(self.inplanes)
        for number, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), 1):
            stride = 1 if number == 1 else 2
            make_stage: Any = self._make_layer
            stage = make_stage(self.block, width, depth, stride=stride)
            self.set_submodule(f"layer{number}", stage)
        self.fc = nn.Linear(self.widths[-1] * self.block.expansion, self.embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Project images: B×3×S×S → B×embed_dim."""
        projected: Tensor = resnet.ResNet.forward(self, images)
        return projected

    @property
    def stages(self) -> list[Stage]:
        """The stem and the four stages of blocks, named as detectron2 names them."""
        return [
            Stage("conv1", [self.conv1, self.bn1, self.relu]),
            Stage("res2", [self.maxpool, self.layer1]),
            Stage("res3", [self.layer2]),
            Stage("res4", [self.layer3]),
            Stage("res5", [self.layer4]),
        ]

    @property
    def feature_info(self) -> list[FeatureInfo]:
        """Channels and strides of the layers: each stage but the first halves the maps."""
        reduction = 1 if self.stem in _FULL_RESOLUTION else 2
        features = [FeatureInfo("conv1", self.widths[0], reduction)]
        if self.stem == "imagenet":
            reduction *= 2  # the max-pool
        for number, width in enumerate(self.widths, start=2):
            features.append(FeatureInfo(f"res{number}", width * self.block.expansion, reduction))
            reduction *= 2
        return features

    def pool(self, maps: Tensor) -> Tensor:
        """Average the maps of res5 over their positions."""
        return torch.flatten(self.avgpool(maps), 1)

    def trunk_and_head(self) -> TrunkAndHead:
        """Cut below res5, which is the head (the C4 variant of Ren et al. 2015, He et al. 2016)."""
        head = nn.Sequential(OrderedDict(layer4=self.layer4))
        return TrunkAndHead(stages=self.stages, head_input="res4", head=head)

    @property
    def timm_name(self) -> str | None:
        """The same name in timm, which has the networks of the paper."""
        if self.stem == "imagenet" and self.widths == _TORCHVISION_WIDTHS:
            return self.arch
        return None

    @property
    def transformers_compatible(self) -> bool:
        """Wherever timm has the network, which transformers wraps."""
        return self.timm_name is not None

    @property
    def detectron2_compatible(self) -> bool:
        """detectron2 has the stem for ImageNet only."""
        return self.stem == "imagenet"


@BACKBONES.register("resnet10")
class ResNet10(ResNet):
    """The small one for CPUs: one block per stage, half the width; under 2 MB in half precision."""

    stems = {"small": 3, "imagenet": 7, "cifar": 3}
    block = BasicBlock
    depths = (1, 1, 1, 1)
    widths = (32, 64, 128, 192)


@BACKBONES.register("resnet18")
class ResNet18(ResNet):
    """18 layers of basic blocks."""

    block = BasicBlock
    depths = (2, 2, 2, 2)


@BACKBONES.register("resnet34")
class ResNet34(ResNet):
    """34 layers of basic blocks."""

    block = BasicBlock
    depths = (3, 4, 6, 3)


@BACKBONES.register("resnet50")
class ResNet50(ResNet):
    """50 layers of bottleneck blocks."""

    block = Bottleneck
    depths = (3, 4, 6, 3)


@BACKBONES.register("resnet101")
class ResNet101(ResNet):
    """101 layers of bottleneck blocks."""

    block = Bottleneck
    depths = (3, 4, 23, 3)


@BACKBONES.register("resnet152")
class ResNet152(ResNet):
    """152 layers of bottleneck blocks."""

    block = Bottleneck
    depths = (3, 8, 36, 3)
