"""A backbone with a linear classifier on top, for training the two together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import Backbone

_GRID = 4  # cells a side that a layer's map is pooled to


class Classifier(nn.Module):
    """Logits from what the backbone's projection read, or from several layers side by side.

    The second is for few labels of images unlike those of pretraining: lower layers are the more
    general ones, and the classifier may take what it needs (hypercolumns: Hariharan et al. 2015,
    arXiv 1411.5752).

    Attributes:
        backbone: learns too; without layers its projection has become ``head``.
        head: the linear layer.
    """

    def __init__(self, backbone: Backbone, num_classes: int, layers: Sequence[str] = ()) -> None:
        """Put a new classifier on a backbone.

        Args:
            backbone: is changed.
            num_classes: C.
            layers: names out of ``backbone.layers``; none for the projection's input.
        """
        super().__init__()
        self.backbone = backbone
        self.layers = tuple(layers)
        if not layers:
            self.head = nn.Linear(backbone.feature_dim, num_classes)
            backbone.set_submodule(backbone.projection, self.head)
            return
        width = self._columns_width()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.head = nn.Linear(width, num_classes)
        nn.init.zeros_(self.head.weight)

    @torch.no_grad()
    def _columns_width(self) -> int:
        size = self.backbone.input.size
        was_training = self.backbone.training
        self.backbone.eval()
        width = self._columns(torch.zeros(1, 3, size, size)).shape[1]
        self.backbone.train(was_training)
        return width

    def _columns(self, images: Tensor) -> Tensor:
        """B×F: the layers' maps, pooled to a small grid, side by side."""
        columns = []
        for maps in self.backbone.features(images, self.layers).values():
            grid = min(_GRID, *maps.shape[2:])
            columns.append(F.adaptive_avg_pool2d(maps, grid).flatten(1))
        return torch.cat(columns, 1)

    def forward(self, images: Tensor) -> Tensor:
        """B×C logits of B×3×S×S normalised images."""
        if not self.layers:
            logits: Tensor = self.backbone(images)
        else:
            logits = self.head(self.norm(self._columns(images).float()))
        return logits
