"""The full non-parametric softmax (paper, eq. 2)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from pretrain.attention import attend_bytes, attend_sharded_messages, exact
from pretrain.losses.base import LOSSES, Loss, LossConfig, LossCost
from pretrain.memory_bank import MemoryBank
from pretrain.memory_bank.sharded import lookup_messages
from pretrain.workload import Workload


@dataclass(frozen=True, kw_only=True)
class ExactConfig(LossConfig):
    """Settings of the exact softmax: those of every loss."""


@LOSSES.register("exact")
class Exact(Loss[ExactConfig]):
    """The exact non-parametric softmax, computed as attention over the bank."""

    Config = ExactConfig

    def forward(
        self,
        embeddings: Tensor,
        indices: Tensor,
        bank: MemoryBank | Tensor,
        generator: Generator,
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`."""
        return exact(embeddings, indices, bank, self.config.temperature)

    @classmethod
    def cost(cls, config: ExactConfig, workload: Workload) -> LossCost:
        """Count what a step takes; see :meth:`Loss.cost`."""
        messages = []
        if workload.num_devices > 1:
            messages += lookup_messages(workload, "own rows", workload.local_batch_size)
            messages += attend_sharded_messages(workload)
        num_products = workload.batch_size * workload.local_num_rows
        return LossCost(
            peak_bytes=attend_bytes(workload, config.temperature) + 4 * workload.vectors_bytes,
            flops=4 * workload.embed_dim * num_products,
            messages=messages,
        )
