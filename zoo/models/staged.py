"""Backbones whose layers follow one another, as in every convolutional network here."""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.models.backbone import POOLED, Backbone, FeatureInfo, Stage, TrunkAndHead


class StagedBackbone(Backbone):
    """A backbone that is its stages, a pooling and the projection, one after the other."""

    @property
    @abstractmethod
    def stages(self) -> list[Stage]:
        """The modules up to each layer; those between two layers open the later stage."""

    @abstractmethod
    def pool(self, maps: Tensor) -> Tensor:
        """Turn the maps of the last stage (B×C×H×W) into what the projection reads (B×F)."""

    def forward_intermediates(
        self, images: Tensor, layers: Sequence[str]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield inner activations, as :meth:`Backbone.forward_intermediates` says."""
        remaining = set(layers)
        maps = images
        for stage in self.stages:
            if not remaining:
                return
            for module in stage.modules:
                maps = module(maps)
            if stage.name in remaining:
                remaining.remove(stage.name)
                yield stage.name, maps
        if POOLED in remaining:
            yield POOLED, self.pool(maps)


class SequentialBackbone(StagedBackbone):
    """One sequence of convolutions, then three fully connected layers: fc6, fc7 and the projection.

    torchvision calls the sequence ``features``, as our method is called: the submodule keeps its
    name in the state dict and is reached as ``trunk``.

    Attributes:
        stage_ends: for each layer, conv1 first, where its stage ends in the trunk: after a ReLU.
            Poolings open the next stage.
        head_resolution: side of the maps that fc6 reads.
    """

    first_conv = "features.0"
    projection = "classifier.6"
    stage_ends: ClassVar[tuple[int, ...]]
    head_resolution: ClassVar[int]

    avgpool: nn.Module
    classifier: nn.Sequential

    @property
    def trunk(self) -> nn.Sequential:
        """The convolutions, their ReLUs and poolings."""
        trunk = self._modules["features"]
        assert isinstance(trunk, nn.Sequential)
        return trunk

    @property
    def stages(self) -> list[Stage]:
        """The trunk as conv1, conv2, …; what follows the last layer is part of the pooling."""
        modules = list(self.trunk)
        stages = []
        start = 0
        for number, end in enumerate(self.stage_ends, start=1):
            stages.append(Stage(f"conv{number}", modules[start:end]))
            start = end
        return stages

    @property
    def feature_info(self) -> list[FeatureInfo]:
        """Channels and strides of the layers, read off the modules."""
        features = []
        channels = 3
        reduction = 1
        for stage in self.stages:
            for module in stage.modules:
                if isinstance(module, nn.Conv2d):
                    channels = module.out_channels
                    reduction *= module.stride[0]
                elif isinstance(module, nn.MaxPool2d):
                    assert isinstance(module.stride, int)
                    reduction *= module.stride
            features.append(FeatureInfo(stage.name, channels, reduction))
        return features

    def pool(self, maps: Tensor) -> Tensor:
        """Pool the maps of the last layer and pass them through fc6 and fc7."""
        for module in self.trunk[self.stage_ends[-1] :]:
            maps = module(maps)
        fc7: Tensor = self.classifier[:-1](torch.flatten(self.avgpool(maps), 1))
        return fc7

    def forward(self, images: Tensor) -> Tensor:
        """Project images: B×3×S×S → B×embed_dim."""
        projected: Tensor = self.classifier(torch.flatten(self.avgpool(self.trunk(images)), 1))
        return projected

    def trunk_and_head(self) -> TrunkAndHead:
        """Cut below fc6: the head is fc6 and fc7 with their ReLUs and dropouts."""
        fully_connected = nn.Sequential(*list(self.classifier)[:-1])
        head = nn.Sequential(OrderedDict(flatten=nn.Flatten(), classifier=fully_connected))
        stages = self.stages
        return TrunkAndHead(
            stages=stages,
            head_input=stages[-1].name,
            head=head,
            head_resolution=self.head_resolution,
        )
