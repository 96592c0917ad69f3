"""What a solver is given, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from downstream.features.extract import OnImages
from downstream.features.layers import layer_features
from downstream.linear.config import Settings
from zoo import Backbone
from zoo.data.sources import Source
from zoo.utils.registry import Registry

Classifier = Callable[
    [Tensor], Tensor
]  # B×F float rows of one layer → B×C, larger for a likelier class


@dataclass(frozen=True)
class Work:
    """One network to probe.

    Attributes:
        network: frozen.
        key: of its weights, for the kept features; None to keep none.
        layers: to probe.
        train, test: with one list of classes.
        how: settings.
        progress: is called with the number of images that went through the network.
    """

    network: Backbone
    key: str | None
    layers: Sequence[str]
    train: Source
    test: Source
    how: Settings
    progress: OnImages | None = None

    def _rows(self, source: Source) -> dict[str, Tensor]:
        how: dict[str, Any] = {
            "device": self.how.device,
            "workers": self.how.workers,
            "on_progress": self.progress,
        }
        return layer_features(self.network, source, self.layers, sha256=self.key, **how)

    @cached_property
    def rows(self) -> dict[str, Tensor]:
        """{layer: N×F} of the training images, and ``good``."""
        return self._rows(self.train)

    @cached_property
    def test_rows(self) -> dict[str, Tensor]:
        """{layer: N×F} of the test images, and ``good``."""
        return self._rows(self.test)

    @cached_property
    def labels(self) -> Tensor:
        """N class numbers of the training images."""
        return torch.from_numpy(self.train.require_labels()[0])

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.train.require_labels()[1])


# (work, indices of the training images to use, the values to try for each layer, seed) → a classifier for each
Solver = Callable[
    [Work, Tensor, Mapping[str, Sequence[float]], int], dict[tuple[str, float], Classifier]
]
SOLVERS: Registry[Solver] = Registry("linear solver")


@torch.no_grad()
def logits(classifier: Classifier, rows: Tensor, index: Tensor, device: str) -> Tensor:
    """Scores of some of the N×F rows, a block at a time."""
    return torch.cat(
        [classifier(rows[some].float().to(device)).float().cpu() for some in index.split(4096)]
    )
