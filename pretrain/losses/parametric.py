"""The parametric softmax (paper, eq. 1): a learned weight vector per image in place of the memory bank."""

import torch
from torch import Generator, Tensor, nn

from pretrain.attention import CHUNK, attend
from pretrain.losses.base import OBJECTIVES, Objective, ObjectiveSettings, Rows


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


@OBJECTIVES.register("parametric")
class Parametric(Objective):
    def __init__(self, settings: ObjectiveSettings, size: int, dim: int) -> None:
        super().__init__(settings, size, dim)
        self.weight = nn.Parameter(torch.empty(size, dim))
        nn.init.uniform_(self.weight, -(dim**-0.5), dim**-0.5)  # as nn.Linear starts

    def forward(self, v: Tensor, index: Tensor, bank: Rows, generator: Generator) -> Tensor:
        return parametric(v, index, self.weight, self.settings.temperature)
