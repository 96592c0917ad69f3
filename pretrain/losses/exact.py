"""The full non-parametric softmax (paper, eq. 2)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from pretrain.attention import exact
from pretrain.losses.base import LOSSES, Loss, LossConfig, Rows


@dataclass(frozen=True, kw_only=True)
class ExactConfig(LossConfig):
    """Settings of the exact softmax: those of every loss."""


@LOSSES.register("exact")
class Exact(Loss[ExactConfig]):
    """The exact non-parametric softmax, computed as attention over the bank."""

    Config = ExactConfig

    def forward(
        self, embeddings: Tensor, indices: Tensor, bank: Rows, generator: Generator
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`."""
        return exact(embeddings, indices, bank, self.config.temperature)
