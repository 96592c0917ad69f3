"""The memory bank divided by rows over the processes of a run."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pretrain.communicator import Communicator
from pretrain.memory_bank.bank import MemoryBank
from pretrain.memory_bank.local import LocalBank, row_dtype
from pretrain.workload import ALL_GATHER, ALL_TO_ALL, Message, Workload


def shard_bounds(num_rows: int, num_shards: int) -> list[int]:
    """Divide rows evenly.

    Returns:
        Where each shard begins, and the end of the last.

    Example:
        >>> from pretrain.memory_bank import shard_bounds
        >>> shard_bounds(10, 4)
        [0, 2, 5, 7, 10]
    """
    return [num_rows * shard // num_shards for shard in range(num_shards + 1)]


class ShardedBank(MemoryBank):
    """A bank of N×D rows of which this process keeps some.

    Attributes:
        local: the rows that are kept here.
        bounds: where each process's rows begin, and the end.
    """

    # Few exchanges, and 128 MiB in fp32 at D = 128.
    rows_per_lookup: int = 1 << 18

    def __init__(self, local: LocalBank, num_rows: int, communicator: Communicator) -> None:
        """
        Args:
            local: the rows of this process's part of ``shard_bounds(num_rows, communicator.size)``.
            num_rows: N.
            communicator: the processes that share the bank.
        """
        self.local = local
        self.num_rows = num_rows
        self.embed_dim = local.embed_dim
        self.dtype = local.dtype
        self.communicator = communicator
        self.bounds = shard_bounds(num_rows, communicator.size)
        self._ends = torch.tensor(self.bounds[1:-1], device=local.rows.device)

    @property
    def local_range(self) -> tuple[int, int]:
        """The rows of ``local`` among the N."""
        rank = self.communicator.rank
        return self.bounds[rank], self.bounds[rank + 1]

    def lookup(self, indices: Tensor) -> Tensor:
        """Ask the rows of some images of the processes that keep them.

        See :meth:`MemoryBank.lookup`.
        """
        exchange = self.communicator.all_to_all
        first, _ = self.local_range
        flat = indices.reshape(-1)
        owner = torch.bucketize(flat, self._ends, right=True)
        order = owner.argsort(stable=True)
        num_ranks = self.communicator.size
        num_asked = owner.new_zeros(num_ranks).scatter_add_(0, owner, torch.ones_like(owner))
        one_each = [1] * num_ranks
        num_given = exchange(num_asked, one_each, one_each)
        asked_counts, given_counts = torch.stack([num_asked, num_given]).tolist()
        requested = exchange(flat[order], asked_counts, given_counts)
        rows = exchange(self.local.lookup(requested - first), given_counts, asked_counts)
        result = torch.empty_like(rows)
        result[order] = rows
        return result.view(*indices.shape, -1)

    def iter_chunks(self, rows: int) -> Iterator[Tensor]:
        """Visit the rows that are kept here; see :meth:`MemoryBank.iter_chunks`."""
        return self.local.iter_chunks(rows)

    def update(self, indices: Tensor, embeddings: Tensor, momentum: float) -> None:
        """Move the rows of all processes' images, each where it is kept.

        See :meth:`MemoryBank.update`.
        """
        first, end = self.local_range
        indices = self.communicator.all_gather(indices)
        embeddings = self.communicator.all_gather(embeddings)
        here = ((indices >= first) & (indices < end)).nonzero()[:, 0]
        self.local.update(indices[here] - first, embeddings[here], momentum)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the whole bank on rank 0; see :meth:`MemoryBank.state_dict`."""
        counts = []
        for first, end in zip(self.bounds, self.bounds[1:], strict=False):
            counts.append(end - first)
        whole = {}
        for name, tensor in self.local.state_dict().items():
            whole[name] = self.communicator.gather_to_rank_zero(tensor, counts)
        return whole

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the rows that are kept here; see :meth:`MemoryBank.load_state_dict`."""
        self.local.load_state_dict(state)


def lookup_messages(
    workload: Workload, what: str, num_rows: int, num_lookups: int = 1
) -> list[Message]:
    """Count what each process sends to look rows up.

    Args:
        workload: a step of several devices.
        what: what the rows are, for people.
        num_rows: how many rows a process asks for in a step.
        num_lookups: in how many calls.
    """
    request_bytes = 8 * workload.num_devices * num_lookups + 8 * num_rows
    row_bytes = workload.embed_dim * row_dtype(workload.bank_dtype).itemsize
    return [
        Message(f"{what}: asked for", ALL_TO_ALL, request_bytes),
        Message(what, ALL_TO_ALL, num_rows * row_bytes),
    ]


def update_messages(workload: Workload) -> list[Message]:
    """Count what each process sends to update the bank."""
    vector_bytes = workload.embed_dim * 4
    index_bytes = 8
    num_bytes = workload.local_batch_size * (vector_bytes + index_bytes)
    return [Message("vectors for the bank", ALL_GATHER, num_bytes)]
