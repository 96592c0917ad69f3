"""The memory bank dealt out by rows over the processes of a run."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pretrain.communicator import Communicator
from pretrain.memory_bank.local import MemoryBank


def bounds(size: int, parts: int) -> list[int]:
    """Where each of ``parts`` even shares of ``size`` rows begins, and the end of the last."""
    return [size * part // parts for part in range(parts + 1)]


class ShardedBank:
    """A bank of N×D rows of which this process keeps some; reads like :class:`MemoryBank`.

    Reading, updating and saving are collective: every rank takes part, as often, each with images of its own.

    Attributes:
        own: the rows that are kept here.
        start: of the first of them.
    """

    block = (
        1 << 18
    )  # rows that the objectives ask for at once: few exchanges, and 128 MiB in fp32 at D = 128

    def __init__(self, own: MemoryBank, size: int, communicator: Communicator) -> None:
        """
        Args:
            own: rows ``bounds(size, communicator.size)[communicator.rank]`` and on.
            size: N.
        """
        self.own, self.communicator, self.kind, self.dtype = own, communicator, own.kind, own.dtype
        self.shape = torch.Size((size, own.shape[1]))
        self.bounds = bounds(size, communicator.size)
        self.start = self.bounds[communicator.rank]
        self._ends = torch.tensor(self.bounds[1:-1], device=own.rows.device)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Rows of the given images (any shape of indices, plus D), in ``dtype``: asked of their owners, and sent."""
        flat = index.reshape(-1)
        owner = torch.bucketize(flat, self._ends, right=True)
        order = owner.argsort(stable=True)
        ones = [1] * self.communicator.size
        asked = owner.new_zeros(self.communicator.size).scatter_add_(
            0, owner, torch.ones_like(owner)
        )
        give, take = torch.stack([asked, self.communicator.all_to_all(asked, ones, ones)]).tolist()
        wanted = self.communicator.all_to_all(flat[order], give, take)
        rows = self.communicator.all_to_all(self.own[wanted - self.start], take, give)
        out = torch.empty_like(rows)
        out[order] = rows
        return out.view(*index.shape, -1)

    def split(self, chunk: int) -> Iterator[Tensor]:
        """The rows that are kept here, ``chunk`` at a time, in ``dtype``."""
        return self.own.split(chunk)

    def read(self, index: Tensor) -> Tensor:
        """B×D fp32 rows of the given images."""
        return self[index].float()

    def update(self, index: Tensor, v: Tensor, momentum: float) -> None:
        """As :meth:`MemoryBank.update` with the images of all ranks: each owner writes its rows."""
        index, v = self.communicator.all_gather(index), self.communicator.all_gather(v)
        here = ((index >= self.start) & (index < self.start + len(self.own))).nonzero()[:, 0]
        self.own.update(index[here] - self.start, v[here], momentum)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over the rows that are kept here; see :meth:`MemoryBank.load`."""
        self.own.load(state)

    def state(self) -> dict[str, Tensor]:
        """The whole bank, on rank 0."""
        rows = [end - start for start, end in zip(self.bounds, self.bounds[1:], strict=False)]
        return {
            name: self.communicator.gather_to_rank_zero(mine, rows)
            for name, mine in self.own.state().items()
        }
