"""The exact non-parametric softmax as one pass over the memory bank, without ever holding the B×N logits.

The gradient of the loss with respect to an embedding is attention over the bank (queries: embeddings, keys and
values: the bank, scale 1/τ) minus the image's own row, so the pass that sums the exponentials also gives the
gradient. Partial results over any split of the bank merge by their logsumexp.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK = 2048  # rows of the bank per step: the B×CHUNK scores stay in cache


@dataclass(frozen=True)
class Partial:
    """Attention over some rows of the bank: ``lse`` (B) the logsumexp of the scores, ``mean`` (B×D) Σ p_j M_j."""

    lse: Tensor
    mean: Tensor


def attend(v: Tensor, bank: Any, temperature: float, chunk: int = CHUNK) -> Partial:
    """Attention of unit vectors over unit rows.

    Args:
        v: B×D unit vectors.
        bank: N×D unit rows (a tensor or a memory bank), fp32 or bf16; products run in this type, sums in fp32.
        temperature: τ, positive.
    """
    query = v.to(bank.dtype)
    total = torch.zeros(len(v), device=v.device)
    weighted = torch.zeros(v.shape, device=v.device)
    peak = torch.full((len(v),), -torch.inf, device=v.device)
    for rows in bank.split(chunk):
        scores = (query @ rows.T).float() / temperature
        new_peak = torch.maximum(peak, scores.amax(1))
        keep = torch.exp(peak - new_peak)
        p = torch.exp_(scores - new_peak[:, None])
        total = total * keep + p.sum(1)
        weighted = weighted * keep[:, None] + (p.to(bank.dtype) @ rows).float()
        peak = new_peak
    return Partial(peak + total.log(), weighted / total[:, None])


def merge(parts: list[Partial]) -> Partial:
    """The attention over the union of disjoint sets of rows."""
    lses = torch.stack([part.lse for part in parts])
    weights = torch.softmax(lses, 0)
    means = torch.stack([part.mean for part in parts])
    return Partial(lses.logsumexp(0), (weights[:, :, None] * means).sum(0))


class _Exact(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v: Tensor, index: Tensor, bank: Any, temperature: float) -> Tensor:
        part = attend(v, bank, temperature)
        own = bank[index].float()
        ctx.save_for_backward((part.mean - own) / temperature)
        return part.lse - (v.float() * own).sum(1) / temperature

    @staticmethod
    def backward(ctx, grad: Tensor):
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None], None, None, None


def exact(v: Tensor, index: Tensor, bank: Any, temperature: float = 0.07) -> Tensor:
    """−log P(i|v) of the paper's eq. 2, for each image of the batch.

    Args:
        v: B×D unit vectors.
        index: B int64, each image's row in the bank.
        bank: N×D unit rows, no gradient.
        temperature: τ.

    Returns:
        B losses, fp32.

    Raises:
        ValueError: if the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return _Exact.apply(v, index, bank, temperature)
