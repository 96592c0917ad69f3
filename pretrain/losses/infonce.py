"""The softmax over the positive and m sampled negatives (InfoNCE; the authors' later variant)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from pretrain.attention import Sloped, bounded
from pretrain.communicator import communicator_of
from pretrain.losses.base import LOSSES, Loss, Rows
from pretrain.losses.sampling import SampledConfig, blocks, draw, leave_out, weighted


def _peak(query: Tensor, positive: Tensor, negatives: Tensor, bank: Rows) -> Tensor:
    """The largest score of each image, B, with any negative or with its positive."""
    peak = positive.clone()
    for at, scores, _, _ in blocks(query, negatives, bank):
        peak[at] = torch.maximum(peak[at], scores.amax(1))
    return peak


class _InfoNCE(Sloped):
    @staticmethod
    def forward(
        ctx,
        v: Tensor,
        index: Tensor,
        negatives: Tensor,
        bank: Rows,
        temperature: float,
        exclude,
        stand_for,
    ):
        query, own = (v / temperature).to(bank.dtype), bank[index].float()
        positive = (v.float() * own).sum(1) / temperature
        shift = None if bounded(temperature, len(bank)) else _peak(query, positive, negatives, bank)
        left = torch.full_like(index, negatives.shape[-1])
        total, weighted_rows = torch.zeros_like(positive), torch.zeros_like(own)
        for at, scores, some, rows in blocks(query, negatives, bank):
            if exclude:
                left[at] -= leave_out(scores, some, index[at], -torch.inf)
            p = (scores if shift is None else scores.float().sub_(shift[at, None])).exp_()
            total[at] += p.sum(1, dtype=torch.float32)
            weighted_rows[at] += weighted(p, rows)
        share = (stand_for / left.clamp(min=1))[:, None] if stand_for else 1.0
        relative = positive if shift is None else positive - shift
        mine = relative.exp()[:, None]
        every = mine + total[:, None] * share
        ctx.save_for_backward(((weighted_rows * share + mine * own) / every - own) / temperature)
        return every[:, 0].log() - relative


def infonce(
    v: Tensor,
    index: Tensor,
    negatives: Tensor,
    bank: Rows,
    temperature: float = 0.07,
    *,
    exclude_positive: bool = True,
    rescale_negatives: bool = False,
) -> Tensor:
    """−log softmax of the positive among itself and the negatives.

    With every other image as a negative this is the exact softmax.

    Args:
        v: B×D unit vectors.
        index: B int64 rows of the positives.
        negatives: B×m rows, or m shared by the batch.
        bank: N×D unit rows.
        temperature: τ.
        exclude_positive: whether negatives that are the positive itself are left out.
        rescale_negatives: weight the negatives by (N − 1)/m, so that they stand for all other images.

    Returns:
        B losses, fp32.
    """
    stand_for = len(bank) - 1 if rescale_negatives else 0
    return _InfoNCE.apply(v, index, negatives, bank, temperature, exclude_positive, stand_for)


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
        self, embeddings: Tensor, indices: Tensor, bank: Rows, generator: Generator
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`."""
        config = self.config
        negatives = draw(indices, self.num_rows, config, generator, communicator_of(bank))
        return infonce(
            embeddings,
            indices,
            negatives,
            bank,
            config.temperature,
            exclude_positive=config.exclude_positive,
            rescale_negatives=config.rescale_negatives,
        )
