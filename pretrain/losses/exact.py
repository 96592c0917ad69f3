"""The full non-parametric softmax (paper, eq. 2)."""

from torch import Generator, Tensor

from pretrain.attention import exact
from pretrain.losses.base import OBJECTIVES, Objective, Rows


@OBJECTIVES.register("exact")
class Exact(Objective):
    def forward(self, v: Tensor, index: Tensor, bank: Rows, generator: Generator) -> Tensor:
        return exact(v, index, bank, self.settings.temperature)
