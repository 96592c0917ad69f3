"""The softmax over the positive and m sampled negatives (InfoNCE; the authors' later variant)."""

import math

import torch
from torch import Generator, Tensor

from pretrain.distributed import world_of
from pretrain.objectives._base import OBJECTIVES, Objective, Rows
from pretrain.objectives._sampling import blocks, count_hits, draw, leave_out, weighted
from pretrain.softmax import Partial, merge

_NEVER = -1e30  # score of a negative that is left out: finite, so that no difference of infinities arises


class _InfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v: Tensor, index: Tensor, negatives: Tensor, bank: Rows, temperature: float, exclude, stand_for):
        query, own = v.to(bank.dtype), bank[index].float()
        positive = (v.float() * own).sum(1) / temperature
        extra = torch.zeros_like(positive)
        if stand_for:
            left = negatives.shape[-1] - (count_hits(negatives, index) if exclude else torch.zeros_like(index))
            extra = math.log(stand_for) - left.clamp(min=1).log()
        lse, mean = positive.clone(), own.clone()
        for at, cosines, some, rows in blocks(query, negatives, bank):
            scores = cosines.div_(temperature)
            if exclude:
                leave_out(scores, some, index[at], _NEVER)
            peak = scores.amax(1, keepdim=True)
            p = scores.sub_(peak).exp_()
            total = p.sum(1)
            part = Partial(peak[:, 0] + total.log() + extra[at], weighted(p, rows) / total[:, None])
            both = merge([Partial(lse[at], mean[at]), part])
            lse[at], mean[at] = both.lse, both.mean
        ctx.save_for_backward((mean - own) / temperature)
        return lse - positive

    @staticmethod
    def backward(ctx, grad: Tensor):
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None], None, None, None, None, None, None


def infonce(
    v: Tensor,
    index: Tensor,
    negatives: Tensor,
    bank: Rows,
    temperature: float = 0.07,
    *,
    exclude_positive: bool = True,
    corrected: bool = False,
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
        corrected: weight the negatives by (N − 1)/m, so that they stand for all other images.

    Returns:
        B losses, fp32.
    """
    stand_for = len(bank) - 1 if corrected else 0
    return _InfoNCE.apply(v, index, negatives, bank, temperature, exclude_positive, stand_for)


@OBJECTIVES.register("infonce")
class InfoNCE(Objective):
    def forward(self, v: Tensor, index: Tensor, bank: Rows, generator: Generator) -> Tensor:
        how = self.settings
        negatives = draw(index, self.size, how, generator, world_of(bank))
        options = {"exclude_positive": how.exclude_positive, "corrected": how.corrected}
        return infonce(v, index, negatives, bank, how.temperature, **options)
