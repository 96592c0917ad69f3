"""A backbone with a linear classifier on top, for training the two together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import Backbone

_GRID = 4  # cells a side that a layer's map is pooled to


class Classifier(nn.Module):
    """Logits from what the backbone's projection read, or from several layers side by side.

    The second is for few labels of images unlike those of pretraining: lower layers are the more general ones, and
    the classifier may take what it needs (hypercolumns: Hariharan et al. 2015, arXiv 1411.5752).

    Attributes:
        backbone: learns too; without layers its projection has become ``head``.
        head: the linear layer.
    """

    def __init__(self, backbone: Backbone, classes: int, layers: Sequence[str] = ()) -> None:
        """
        Args:
            backbone: is changed.
            classes: C.
            layers: names out of ``backbone.layers``; none for the projection's input.
        """
        super().__init__()
        self.backbone, self.layers = backbone, tuple(layers)
        if not layers:
            self.head = nn.Linear(backbone.feature_dim, classes)
            backbone.set_submodule(backbone.projection, self.head)
            return
        size, was_training = backbone.input.size, backbone.training
        with torch.no_grad():
            width = self._columns(torch.zeros(1, 3, size, size), backbone.eval()).shape[1]
        backbone.train(was_training)
        self.norm, self.head = nn.BatchNorm1d(width, affine=False), nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)

    def _columns(self, images: Tensor, backbone: Backbone) -> Tensor:
        maps = backbone.features(images, self.layers).values()
        return torch.cat(
            [F.adaptive_avg_pool2d(m, min(_GRID, *m.shape[2:])).flatten(1) for m in maps], 1
        )

    def forward(self, images: Tensor) -> Tensor:
        """B×C logits of B×3×S×S normalised images."""
        if not self.layers:
            return self.backbone(images)
        return self.head(self.norm(self._columns(images, self.backbone).float()))
