"""Noise-contrastive estimation (paper, eq. 4–7): is this sample data, or one of m draws from the noise 1/n?"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pretrain.attention import Sloped
from pretrain.communicator import communicator_of
from pretrain.losses.base import LOSSES, Loss, Rows
from pretrain.losses.sampling import SampledConfig, blocks, draw, leave_out, weighted


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
    def _follow_z(self, embeddings: Tensor, negatives: Tensor, bank: Rows) -> None:
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
        self, embeddings: Tensor, indices: Tensor, bank: Rows, generator: Generator
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`. Z follows the batch first."""
        config = self.config
        negatives = draw(indices, self.num_rows, config, generator, communicator_of(bank))
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
