"""Noise-contrastive estimation (paper, eq. 4–7).

Is this sample data, or one of m draws from the noise 1/n?
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from pretrain.attention import SavedGradFunction
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
from pretrain.workload import ALL_REDUCE, Message, Workload


class _NCE(SavedGradFunction):
    """In log space throughout.

    With a = score − log Z − log(m/n), h = sigmoid(a) is the posterior of eq. 6.
    """

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        indices: Tensor,
        negatives: Tensor,
        bank: MemoryBank,
        temperature: float,
        log_z: Tensor,
        exclude_positive: bool,
    ) -> Tensor:
        """Sum over the negatives, some at a time, the losses and their gradients."""
        query = embeddings.to(bank.dtype)
        own_rows = bank.lookup(indices).float()
        shift = log_z + math.log(negatives.shape[-1] / bank.num_rows)
        positive = (embeddings.float() * own_rows).sum(1) / temperature - shift
        losses = softplus(-positive)
        grad = -torch.sigmoid(-positive)[:, None] * own_rows
        for images, products, chunk, rows in iter_negative_scores(query, negatives, bank):
            scores = products.float().div_(temperature).sub_(shift)
            if exclude_positive:
                mask_positives(scores, chunk, indices[images], -torch.inf)
            losses[images] += softplus(scores).sum(1)
            grad[images] += weighted_sum(scores.sigmoid_(), rows)
        ctx.save_for_backward(grad / temperature)
        return losses


def nce(
    embeddings: Tensor,
    indices: Tensor,
    negatives: Tensor,
    bank: MemoryBank | Tensor,
    temperature: float,
    log_z: Tensor,
    *,
    exclude_positive: bool = True,
) -> Tensor:
    """Compute −log h(i, v) − Σ_j log(1 − h(j, v)) over the negatives.

    h = P/(P + m/n) is the posterior of eq. 6, with P = exp(v·M/τ)/Z.

    Args:
        embeddings: B×D unit vectors.
        indices: B int64 rows of the positives.
        negatives: B×m rows, or m shared by the batch.
        bank: N×D unit rows.
        temperature: τ.
        log_z: scalar, log Z.
        exclude_positive: whether negatives that are the positive itself are left out.

    Returns:
        B losses, fp32.
    """
    losses: Tensor = _NCE.apply(
        embeddings, indices, negatives, as_bank(bank), temperature, log_z, exclude_positive
    )
    return losses


@torch.no_grad()
def estimate_log_z(
    embeddings: Tensor, negatives: Tensor, bank: MemoryBank | Tensor, temperature: float
) -> Tensor:
    """Estimate log Z by Monte Carlo (paper, eq. 8).

    Args:
        embeddings: B×D unit vectors.
        negatives: B×m rows, or m shared by the batch.
        bank: N×D unit rows.
        temperature: τ.

    Returns:
        The log of (n/m) Σ_j exp(v·M_j/τ), averaged over the batch of all processes; a scalar.
    """
    bank = as_bank(bank)
    communicator = bank.communicator
    parts = []
    for negative_scores in iter_negative_scores(embeddings.to(bank.dtype), negatives, bank):
        scores = negative_scores.scores.float() / temperature
        parts.append(scores.flatten().logsumexp(0))
    local = torch.stack(parts).logsumexp(0)
    peak = communicator.all_reduce_max(local)
    log_sum = peak + communicator.all_reduce_sum(torch.exp(local - peak)).log()
    num_scores = negatives.shape[-1] * len(embeddings) * communicator.size
    return log_sum + math.log(bank.num_rows / num_scores)


@dataclass(frozen=True, kw_only=True)
class NCEConfig(SampledConfig):
    """Settings of noise-contrastive estimation.

    Attributes:
        z: how Z is found: ``monte-carlo`` on the first batches, then held (paper), or ``ema``.
        z_batches: batches of the Monte Carlo estimate.
        z_momentum: of the moving average.
    """

    z: str = "monte-carlo"
    z_batches: int = 10
    z_momentum: float = 0.99

    def faults(self, num_rows: int) -> list[str]:
        """Say what is wrong with the settings; see :meth:`LossConfig.faults`."""
        faults = super().faults(num_rows)
        if self.z not in ("monte-carlo", "ema"):
            faults.append(f"loss.z must be monte-carlo or ema, got {self.z!r}")
        if not 0 <= self.z_momentum < 1:
            faults.append(f"loss.z_momentum must lie in [0, 1), got {self.z_momentum}")
        if self.z_batches < 1:
            faults.append(f"loss.z_batches must be at least 1, got {self.z_batches}")
        return faults


@LOSSES.register("nce")
class NCE(Loss[NCEConfig]):
    """Noise-contrastive estimation with negatives drawn evenly.

    Attributes:
        log_z: log Z, a scalar buffer.
        seen: how many batches have been part of the estimate, a scalar buffer.
    """

    Config = NCEConfig
    log_z: Tensor
    seen: Tensor

    def __init__(self, config: NCEConfig, num_rows: int, embed_dim: int) -> None:
        super().__init__(config, num_rows, embed_dim)
        self.register_buffer("log_z", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        # The same as a number, so that a step need not ask the device for it.
        self._seen: int | None = None

    @torch.no_grad()
    def _follow_z(self, embeddings: Tensor, negatives: Tensor, bank: MemoryBank) -> None:
        config = self.config
        if self._seen is None:
            self._seen = int(self.seen)
        seen = self._seen
        if config.z == "monte-carlo" and seen >= config.z_batches:
            return
        log_z = estimate_log_z(embeddings, negatives, bank, config.temperature)
        # The mean of all batches so far; a moving average is that too until it has seen enough.
        keep = seen / (seen + 1)
        if config.z == "ema":
            keep = min(keep, config.z_momentum)
        if keep:
            log_z = torch.logaddexp(self.log_z + math.log(keep), log_z + math.log1p(-keep))
        self.log_z.copy_(log_z)
        self.seen += 1
        self._seen = seen + 1

    def forward(
        self,
        embeddings: Tensor,
        indices: Tensor,
        bank: MemoryBank | Tensor,
        generator: Generator,
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`. Z follows the batch first."""
        config = self.config
        bank = as_bank(bank)
        negatives = draw_negatives(indices, self.num_rows, config, generator, bank.communicator)
        self._follow_z(embeddings, negatives, bank)
        return nce(
            embeddings,
            indices,
            negatives,
            bank,
            config.temperature,
            self.log_z,
            exclude_positive=config.exclude_positive,
        )

    @classmethod
    def cost(cls, config: NCEConfig, workload: Workload) -> LossCost:
        """Count what a step takes once Z is held; see :meth:`Loss.cost`."""
        if config.z != "ema":
            return sampled_cost(config, workload)
        cost = sampled_cost(config, workload, num_passes=2)  # a Z that moves takes another
        if workload.num_devices == 1:
            return cost
        largest_and_sum = Message("Z", ALL_REDUCE, 8)
        return replace(cost, messages=[*cost.messages, largest_and_sum])
