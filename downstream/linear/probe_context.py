"""What a solver of linear classifiers is given, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from downstream.features.layers import layer_features
from downstream.linear.config import LinearConfig
from zoo import Backbone
from zoo.data.source import Source
from zoo.utils.registry import Registry

# B×F float features of one layer → B×C scores, larger for a likelier class
ScoreFunction = Callable[[Tensor], Tensor]
ScoreFunctions = dict[tuple[str, float], ScoreFunction]


@dataclass(frozen=True)
class ProbeContext:
    """One network to probe, and the data to probe it with.

    Attributes:
        network: frozen.
        cache_key: of its weights, for the kept features; None to keep none.
        layers: to probe.
        train, test: with one list of classes.
        config: settings.
        on_images: is called with the number of images that went through the network.
    """

    network: Backbone
    cache_key: str | None
    layers: Sequence[str]
    train: Source
    test: Source
    config: LinearConfig
    on_images: Callable[[int], None] | None = None

    def _features(self, source: Source) -> dict[str, Tensor]:
        return layer_features(
            self.network,
            source,
            self.layers,
            sha256=self.cache_key,
            device=self.config.device,
            workers=self.config.workers,
            on_progress=self.on_images,
        )

    @cached_property
    def train_features(self) -> dict[str, Tensor]:
        """{layer: N×F} of the training images, and ``good``: whether each could be read."""
        return self._features(self.train)

    @cached_property
    def test_features(self) -> dict[str, Tensor]:
        """{layer: N×F} of the test images, and ``good``: whether each could be read."""
        return self._features(self.test)

    @cached_property
    def labels(self) -> Tensor:
        """N class numbers of the training images."""
        return torch.from_numpy(self.train.require_labels()[0])

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.train.require_labels()[1])


# (context, indices of the training images to use, the values to try for each layer, seed)
#   → a score function for each layer and value
Solver = Callable[[ProbeContext, Tensor, Mapping[str, Sequence[float]], int], ScoreFunctions]
SOLVERS: Registry[Solver] = Registry("linear solver")


@torch.no_grad()
def score_rows(score: ScoreFunction, features: Tensor, indices: Tensor, device: str) -> Tensor:
    """Scores of some of the N×F features, a block at a time, on the CPU."""
    scores = []
    for block in indices.split(4096):
        rows = features[block].float().to(device)
        scores.append(score(rows).float().cpu())
    return torch.cat(scores)
