"""ResNets (He et al. 2016): torchvision's class and key names, with three stems."""

from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from zoo.models.backbone import BACKBONES, Backbone

# kernel, stride and padding of the first convolution; cifar is the authors' (3×3, no max-pool), small is the same at
# half the resolution, for CPUs
_STEMS = {"imagenet": (7, 2, 3), "cifar": (3, 1, 1), "small": (3, 2, 1)}


class _ResNet(Backbone, ResNet):
    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    stems = tuple(_STEMS)
    layers = ("conv1", "res2", "res3", "res4", "res5")
    first_conv = "conv1"
    projection = timm_classifier = "fc"

    def __init__(self, embed_dim: int, stem: str) -> None:
        ResNet.__init__(self, self.block, list(self.depths), num_classes=embed_dim)
        kernel, stride, padding = _STEMS[stem]
        self.conv1 = nn.Conv2d(3, self.widths[0], kernel, stride, padding, bias=False)
        if stem != "imagenet":
            self.maxpool = nn.Identity()
        if self.widths != _ResNet.widths:  # torchvision fixes the width of the stages
            self.inplanes = self.widths[0]
            self.bn1 = nn.BatchNorm2d(self.inplanes)
            for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
                stride = 1 if stage == 0 else 2
                layer = self._make_layer(self.block, width, depth, stride=stride)  # type: ignore[operator]
                setattr(self, f"layer{stage + 1}", layer)
            self.fc = nn.Linear(self.widths[-1] * self.block.expansion, embed_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return ResNet.forward(self, x)

    def _stages(self) -> list[tuple[str, list[Any]]]:
        return [
            ("conv1", [self.conv1, self.bn1, self.relu]),
            ("res2", [self.maxpool, self.layer1]),
            ("res3", [self.layer2]),
            ("res4", [self.layer3]),
            ("res5", [self.layer4]),
        ]

    @property
    def architecture(self) -> str | None:
        return self.arch if self.stem == "imagenet" and self.widths == _ResNet.widths else None


@BACKBONES.register("resnet10")
class ResNet10(_ResNet):
    """The small one for CPUs: one block per stage and about half the width; less than 2 MB in half precision."""

    block, depths, widths, stem = BasicBlock, (1, 1, 1, 1), (32, 64, 128, 192), "small"


@BACKBONES.register("resnet18")
class ResNet18(_ResNet):
    block, depths = BasicBlock, (2, 2, 2, 2)


@BACKBONES.register("resnet34")
class ResNet34(_ResNet):
    block, depths = BasicBlock, (3, 4, 6, 3)


@BACKBONES.register("resnet50")
class ResNet50(_ResNet):
    block, depths = Bottleneck, (3, 4, 6, 3)


@BACKBONES.register("resnet101")
class ResNet101(_ResNet):
    block, depths = Bottleneck, (3, 4, 23, 3)


@BACKBONES.register("resnet152")
class ResNet152(_ResNet):
    block, depths = Bottleneck, (3, 8, 36, 3)
