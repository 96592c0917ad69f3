"""The contract of an objective."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor, nn

from zoo import SettingsError
from zoo.utils.registry import Registry


class Rows(Protocol):
    """N×D unit rows: a tensor, or a memory bank."""

    shape: torch.Size
    dtype: torch.dtype

    def __getitem__(self, index: Tensor, /) -> Tensor: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """Which objective, and how.

    Attributes:
        name: a registered objective.
        temperature: τ of the paper's eq. 2.
        negatives: m, the sampled negatives of ``nce`` and ``infonce``.
        shared: whether one set of negatives serves the whole batch (much faster) or each image draws its own.
        exclude_positive: whether a sampled negative that hits the image itself is left out.
        corrected: whether ``infonce`` scales its m negatives up to stand for all N − 1, which makes its expected
            partition sum that of ``exact``.
        z: how ``nce`` finds Z: ``monte-carlo`` on the first batches, then held (paper), or ``ema``.
        z_batches: batches of the Monte Carlo estimate.
        z_momentum: of the moving average.
        proximal: λ of the proximal term (paper, eq. 10).
    """

    name: str = "exact"
    temperature: float = 0.07
    negatives: int = 4096
    shared: bool = False
    exclude_positive: bool = True
    corrected: bool = False
    z: str = "monte-carlo"
    z_batches: int = 10
    z_momentum: float = 0.99
    proximal: float = 0.0

    def check(self, size: int) -> None:
        """
        Raises:
            SettingsError: naming the value that is out of range.
        """
        faults = {
            f"objective.temperature must be positive, got {self.temperature}": self.temperature
            <= 0,
            f"objective.negatives must be at least 1, got {self.negatives}": self.negatives < 1,
            f"objective.z must be monte-carlo or ema, got {self.z!r}": self.z
            not in ("monte-carlo", "ema"),
            f"objective.z_momentum must lie in [0, 1), got {self.z_momentum}": not 0
            <= self.z_momentum
            < 1,
            f"objective.z_batches must be at least 1, got {self.z_batches}": self.z_batches < 1,
            f"objective.proximal must not be negative, got {self.proximal}": self.proximal < 0,
            f"instance discrimination needs at least 2 images, got {size}": size < 2,
        }
        if found := [message for message, wrong in faults.items() if wrong]:
            raise SettingsError("; ".join(found))


class Objective(nn.Module):
    """``(v, index, bank) → loss``. Buffers and parameters it declares (Z, class weights) go into the checkpoint."""

    def __init__(self, settings: ObjectiveSettings, size: int, dim: int) -> None:
        """
        Args:
            settings: checked already.
            size: N, rows of the bank.
            dim: D.
        """
        super().__init__()
        self.settings, self.size, self.dim = settings, size, dim

    def forward(self, v: Tensor, index: Tensor, bank: Rows, generator: Generator) -> Tensor:
        """B losses, fp32, of B×D unit vectors and the B int64 rows that are theirs.

        ``generator`` (on the CPU) is the only source of randomness.
        """
        raise NotImplementedError


def proximal(v: Tensor, own: Tensor) -> Tensor:
    """‖v_i(t) − v_i(t−1)‖², B values: the proximal term of the paper's eq. 10, before λ.

    Args:
        v: B×D embeddings.
        own: B×D rows of the bank as they were, no gradient.
    """
    return (v.float() - own.float()).square().sum(1)


OBJECTIVES: Registry[type[Objective]] = Registry("objective")
