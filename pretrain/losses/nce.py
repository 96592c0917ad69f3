"""Noise-contrastive estimation (paper, eq. 4–7): is this sample data, or one of m draws from the noise 1/n?"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pretrain.attention import Sloped
from pretrain.communicator import communicator_of
from pretrain.losses.base import OBJECTIVES, Objective, ObjectiveSettings, Rows
from pretrain.losses.sampling import blocks, draw, leave_out, weighted


class _NCE(Sloped):
    """In log space throughout: with a = score − log Z − log(m/n), h = sigmoid(a) is the posterior of eq. 6."""

    @staticmethod
    def forward(
        ctx,
        v: Tensor,
        index: Tensor,
        negatives: Tensor,
        bank: Rows,
        temperature: float,
        log_z,
        exclude,
    ):
        query, own = v.to(bank.dtype), bank[index].float()
        shift = log_z + math.log(negatives.shape[-1] / len(bank))
        positive = (v.float() * own).sum(1) / temperature - shift
        loss = F.softplus(-positive)
        slope = -torch.sigmoid(-positive)[:, None] * own
        for at, products, some, rows in blocks(query, negatives, bank):
            scores = products.float().div_(temperature).sub_(shift)
            if exclude:
                leave_out(scores, some, index[at], -torch.inf)
            loss[at] += F.softplus(scores).sum(1)
            slope[at] += weighted(scores.sigmoid_(), rows)
        ctx.save_for_backward(slope / temperature)
        return loss


def nce(
    v: Tensor,
    index: Tensor,
    negatives: Tensor,
    bank: Rows,
    temperature: float,
    log_z: Tensor,
    *,
    exclude_positive: bool = True,
) -> Tensor:
    """−log h(i, v) − Σ_j log(1 − h(j, v)) over the negatives, h = P/(P + m/n), P = exp(v·M/τ)/Z.

    Args:
        v: B×D unit vectors.
        index: B int64 rows of the positives.
        negatives: B×m rows, or m shared by the batch.
        bank: N×D unit rows.
        temperature: τ.
        log_z: scalar, log Z.
        exclude_positive: whether negatives that are the positive itself are left out.

    Returns:
        B losses, fp32.
    """
    return _NCE.apply(v, index, negatives, bank, temperature, log_z, exclude_positive)


@torch.no_grad()
def estimate_log_z(v: Tensor, negatives: Tensor, bank: Rows, temperature: float) -> Tensor:
    """Monte Carlo estimate of log Z: log of (n/m) Σ_j exp(v·M_j/τ), averaged over the whole batch (paper, eq. 8)."""
    found = blocks(v.to(bank.dtype), negatives, bank)
    parts = [(products.float() / temperature).flatten().logsumexp(0) for _, products, _, _ in found]
    mine, communicator = torch.stack(parts).logsumexp(0), communicator_of(bank)
    peak = communicator.all_reduce_max(mine)
    every = peak + communicator.all_reduce_sum(torch.exp(mine - peak)).log()
    return every + math.log(len(bank) / negatives.shape[-1] / len(v) / communicator.size)


@OBJECTIVES.register("nce")
class NCE(Objective):
    log_z: Tensor
    seen: Tensor

    def __init__(self, settings: ObjectiveSettings, size: int, dim: int) -> None:
        super().__init__(settings, size, dim)
        self.register_buffer("log_z", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._seen: int | None = (
            None  # the same as a number, so that a step need not ask the device for it
        )

    @torch.no_grad()
    def _follow_z(self, v: Tensor, negatives: Tensor, bank: Rows) -> None:
        how = self.settings
        seen = int(self.seen) if self._seen is None else self._seen
        self._seen = seen
        if how.z == "monte-carlo" and seen >= how.z_batches:
            return
        new = estimate_log_z(v, negatives, bank, how.temperature)
        # the mean of all batches so far; a moving average is that too until it has seen enough of them
        keep = seen / (seen + 1)
        keep = min(keep, how.z_momentum) if how.z == "ema" else keep
        if seen:
            new = (
                torch.logaddexp(self.log_z + math.log(keep), new + math.log1p(-keep))
                if keep
                else new
            )
        self.log_z.copy_(new)
        self.seen += 1
        self._seen += 1

    def forward(self, v: Tensor, index: Tensor, bank: Rows, generator: Generator) -> Tensor:
        how = self.settings
        negatives = draw(index, self.size, how, generator, communicator_of(bank))
        self._follow_z(v, negatives, bank)
        return nce(
            v,
            index,
            negatives,
            bank,
            how.temperature,
            self.log_z,
            exclude_positive=how.exclude_positive,
        )
