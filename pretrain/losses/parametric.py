"""The parametric softmax (paper, eq. 1): a learned weight vector per image in place of the memory bank."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from pretrain.attention import CHUNK, attend
from pretrain.losses.base import LOSSES, Loss, LossConfig, Rows


class _Parametric(torch.autograd.Function):
    """Like the exact softmax, with a gradient for the weights; the B×N scores are computed again, never kept."""

    @staticmethod
    def forward(ctx, v: Tensor, index: Tensor, weight: Tensor, temperature: float) -> Tensor:
        part = attend(v, weight, temperature, unit=False)
        own = weight[index].float()
        ctx.save_for_backward(v, index, weight, part.lse, part.mean - own)
        ctx.temperature = temperature
        return part.lse - (v.float() * own).sum(1) / temperature

    @staticmethod
    def backward(ctx, grad: Tensor):
        v, index, weight, lse, slope = ctx.saved_tensors
        query = v.to(weight.dtype)
        pull = (v.float() * (grad / ctx.temperature)[:, None]).to(weight.dtype)
        out = torch.empty_like(weight)
        for rows, part in zip(weight.split(CHUNK), out.split(CHUNK), strict=True):
            p = torch.exp_((query @ rows.T).float() / ctx.temperature - lse[:, None])
            torch.mm(p.to(weight.dtype).T, pull, out=part)
        out.index_add_(0, index, pull, alpha=-1)
        return slope * (grad / ctx.temperature)[:, None], None, out, None


def parametric(v: Tensor, index: Tensor, weight: Tensor, temperature: float = 1.0) -> Tensor:
    """−log softmax_i(W v/τ).

    Args:
        v: B×D unit vectors.
        index: B int64 rows.
        weight: N×D, learned.
        temperature: τ; the paper's eq. 1 has none, which is τ = 1.

    Returns:
        B losses, fp32; gradients flow to ``v`` and ``weight``.
    """
    return _Parametric.apply(v, index, weight, temperature)


@dataclass(frozen=True, kw_only=True)
class ParametricConfig(LossConfig):
    """Settings of the parametric softmax: those of every loss."""


@LOSSES.register("parametric")
class Parametric(Loss[ParametricConfig]):
    """The parametric softmax, whose weights are learned in one process.

    Attributes:
        weight: N×D, a vector per image.
    """

    Config = ParametricConfig
    supports_distributed = False

    def __init__(self, config: ParametricConfig, num_rows: int, embed_dim: int) -> None:
        super().__init__(config, num_rows, embed_dim)
        self.weight = nn.Parameter(torch.empty(num_rows, embed_dim))
        nn.init.uniform_(self.weight, -(embed_dim**-0.5), embed_dim**-0.5)  # as nn.Linear starts

    def forward(
        self, embeddings: Tensor, indices: Tensor, bank: Rows, generator: Generator
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`. The bank is not read."""
        return parametric(embeddings, indices, self.weight, self.config.temperature)
