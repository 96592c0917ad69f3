"""AlexNet (Krizhevsky 2014, the "one weird trick" variant) and VGG16 (Simonyan & Zisserman 2015): torchvision's."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.alexnet import AlexNet as _AlexNet
from torchvision.models.vgg import VGG, cfgs, make_layers

from zoo.models.backbone import BACKBONES, Backbone


class _Plain(Backbone):
    """A stack of convolutions in a submodule that torchvision calls ``features``, as our method is called too:
    the submodule keeps its key names and is reached as ``trunk``."""

    layers = ("conv1", "conv2", "conv3", "conv4", "conv5")
    first_conv = "features.0"
    projection = "classifier.6"
    ends: tuple[
        int, ...
    ]  # where each tap's stage ends in the trunk: after a ReLU; pools open the next stage

    @property
    def trunk(self) -> nn.Sequential:
        return self._modules["features"]  # type: ignore[return-value]

    def _stages(self) -> list[tuple[str, list[Any]]]:
        starts = (0, *self.ends[:-1])
        slices = zip(self.layers, starts, self.ends, strict=True)
        return [(name, list(self.trunk)[start:end]) for name, start, end in slices]

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.trunk(x)), 1))  # type: ignore[operator]


@BACKBONES.register("alexnet")
class AlexNet(_Plain, _AlexNet):
    ends = (2, 5, 8, 10, 12)

    def __init__(self, embed_dim: int, stem: str) -> None:
        _AlexNet.__init__(self, num_classes=embed_dim)


@BACKBONES.register("vgg16")
class VGG16(_Plain, VGG):
    ends = (4, 9, 16, 23, 30)
    timm_classifier = "head.fc"

    def __init__(self, embed_dim: int, stem: str) -> None:
        VGG.__init__(self, make_layers(cfgs["D"]), num_classes=embed_dim)

    @property
    def architecture(self) -> str | None:
        return self.arch
