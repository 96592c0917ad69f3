"""The softmax over the positive and m sampled negatives (InfoNCE; the authors' later variant)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from pretrain.attention import SavedGradFunction, bounded
from pretrain.losses.base import LOSSES, Loss, LossCost
from pretrain.losses.sampling import (
    SampledConfig,
    draw_negatives,
    iter_negative_scores,
    mask_positives,
    sampled_cost,
    weighted_sum,
)
from pretrain.memory_bank import MemoryBank, as_bank
from pretrain.workload import Workload


def _peak(query: Tensor, positive: Tensor, negatives: Tensor, bank: MemoryBank) -> Tensor:
    """The largest score of each image, B, with any negative or with its positive."""
    peak = positive.clone()
    for images, scores, _, _ in iter_negative_scores(query, negatives, bank):
        peak[images] = torch.maximum(peak[images], scores.amax(1))
    return peak


class _InfoNCE(SavedGradFunction):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        indices: Tensor,
        negatives: Tensor,
        bank: MemoryBank,
        temperature: float,
        exclude_positive: bool,
        rescale_to: int,
    ) -> Tensor:
        """Sum over the negatives, some at a time, the losses and their gradients."""
        query = (embeddings / temperature).to(bank.dtype)
        own_rows = bank.lookup(indices).float()
        positive = (embeddings.float() * own_rows).sum(1) / temperature
        shift = None
        if not bounded(temperature, bank.num_rows):
            shift = _peak(query, positive, negatives, bank)
        num_left = torch.full_like(indices, negatives.shape[-1])
        total = torch.zeros_like(positive)
        weighted_rows = torch.zeros_like(own_rows)
        for images, scores, chunk, rows in iter_negative_scores(query, negatives, bank):
            if exclude_positive:
                num_left[images] -= mask_positives(scores, chunk, indices[images], -torch.inf)
            if shift is not None:
                scores = scores.float().sub_(shift[images, None])
            p = scores.exp_()
            total[images] += p.sum(1, dtype=torch.float32)
            weighted_rows[images] += weighted_sum(p, rows)
        scale: Tensor | float = 1.0
        if rescale_to:
            scale = (rescale_to / num_left.clamp(min=1))[:, None]
        relative = positive if shift is None else positive - shift
        positive_exp = relative.exp()[:, None]
        partition = positive_exp + total[:, None] * scale
        mean_row = (weighted_rows * scale + positive_exp * own_rows) / partition
        ctx.save_for_backward((mean_row - own_rows) / temperature)
        return partition[:, 0].log() - relative


def infonce(
    embeddings: Tensor,
    indices: Tensor,
    negatives: Tensor,
    bank: MemoryBank | Tensor,
    temperature: float = 0.07,
    *,
    exclude_positive: bool = True,
    rescale_negatives: bool = False,
) -> Tensor:
    """Compute −log softmax of the positive among itself and the negatives.

    With every other image as a negative this is the exact softmax.

    Args:
        embeddings: B×D unit vectors.
        indices: B int64 rows of the positives.
        negatives: B×m rows, or m shared by the batch.
        bank: N×D unit rows.
        temperature: τ.
        exclude_positive: whether negatives that are the positive itself are left out.
        rescale_negatives: weight the negatives by (N − 1)/m, so that they stand for all other
            images.

    Returns:
        B losses, fp32.
    """
    bank = as_bank(bank)
    rescale_to = bank.num_rows - 1 if rescale_negatives else 0
    losses: Tensor = _InfoNCE.apply(
        embeddings, indices, negatives, bank, temperature, exclude_positive, rescale_to
    )
    return losses


@dataclass(frozen=True, kw_only=True)
class InfoNCEConfig(SampledConfig):
    """Settings of InfoNCE.

    Attributes:
        rescale_negatives: whether the m negatives are weighted up to stand for all N − 1 other
            images, which makes the expected partition sum that of ``exact``.
    """

    rescale_negatives: bool = False


@LOSSES.register("infonce")
class InfoNCE(Loss[InfoNCEConfig]):
    """The softmax over the positive and sampled negatives."""

    Config = InfoNCEConfig

    def forward(
        self,
        embeddings: Tensor,
        indices: Tensor,
        bank: MemoryBank | Tensor,
        generator: Generator,
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`."""
        config = self.config
        bank = as_bank(bank)
        negatives = draw_negatives(indices, self.num_rows, config, generator, bank.communicator)
        return infonce(
            embeddings,
            indices,
            negatives,
            bank,
            config.temperature,
            exclude_positive=config.exclude_positive,
            rescale_negatives=config.rescale_negatives,
        )

    @classmethod
    def cost(cls, config: InfoNCEConfig, workload: Workload) -> LossCost:
        """Count what a step takes; see :meth:`Loss.cost`."""
        return sampled_cost(config, workload)
