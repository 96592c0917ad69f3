"""The parametric softmax (paper, eq. 1): a learned weight vector per image, and no memory bank."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from pretrain.attention import CHUNK, attend, attend_bytes
from pretrain.losses.base import LOSSES, Loss, LossConfig, LossCost
from pretrain.memory_bank import MemoryBank
from pretrain.workload import Workload


class _Parametric(torch.autograd.Function):
    """Like the exact softmax, with a gradient for the weights.

    The B×N scores are computed again in the backward pass, never kept.
    """

    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, indices: Tensor, weight: Tensor, temperature: float
    ) -> Tensor:
        """Compute the losses and the embeddings' gradients as attention over the weights."""
        part = attend(embeddings, weight, temperature, unit=False)
        own_rows = weight[indices].float()
        ctx.save_for_backward(embeddings, indices, weight, part.lse, part.mean - own_rows)
        ctx.temperature = temperature
        return part.lse - (embeddings.float() * own_rows).sum(1) / temperature

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, None]:
        """Compute the gradient of the weights some rows at a time."""
        embeddings, indices, weight, lse, difference = ctx.saved_tensors
        scale = (grad / ctx.temperature)[:, None]
        query = embeddings.to(weight.dtype)
        pull = (embeddings.float() * scale).to(weight.dtype)
        weight_grad = torch.empty_like(weight)
        chunks = zip(weight.split(CHUNK), weight_grad.split(CHUNK), strict=True)
        for rows, rows_grad in chunks:
            p = torch.exp_((query @ rows.T).float() / ctx.temperature - lse[:, None])
            torch.mm(p.to(weight.dtype).T, pull, out=rows_grad)
        weight_grad.index_add_(0, indices, pull, alpha=-1)
        return difference * scale, None, weight_grad, None


def parametric(
    embeddings: Tensor, indices: Tensor, weight: Tensor, temperature: float = 1.0
) -> Tensor:
    """Compute −log softmax_i(W v/τ).

    Args:
        embeddings: B×D unit vectors.
        indices: B int64 rows.
        weight: N×D, learned.
        temperature: τ; the paper's eq. 1 has none, which is τ = 1.

    Returns:
        B losses, fp32; gradients flow to ``embeddings`` and ``weight``.
    """
    losses: Tensor = _Parametric.apply(embeddings, indices, weight, temperature)
    return losses


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
        self,
        embeddings: Tensor,
        indices: Tensor,
        bank: MemoryBank | Tensor,
        generator: Generator,
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`. The bank is not read."""
        return parametric(embeddings, indices, self.weight, self.config.temperature)

    @classmethod
    def cost(cls, config: ParametricConfig, workload: Workload) -> LossCost:
        """Count what a step takes; see :meth:`Loss.cost`."""
        weights = replace(workload, bank_dtype="float32")
        forward_bytes = attend_bytes(weights, config.temperature, unit=False)
        backward_bytes = 2 * 4 * workload.batch_size * min(CHUNK, workload.num_rows)
        num_products = workload.batch_size * workload.num_rows
        return LossCost(
            peak_bytes=max(forward_bytes, backward_bytes) + 4 * workload.vectors_bytes,
            flops=8 * workload.embed_dim * num_products,
            num_parameters=workload.num_rows * workload.embed_dim,
        )
