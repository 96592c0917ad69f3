"""A bank divided over processes; test_communicator compares real processes with one."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.communicator import SingleProcess
from pretrain.memory_bank import LocalBank, ShardedBank, shard_bounds
from pretrain.memory_bank.sharded import lookup_messages, update_messages
from pretrain.workload import Workload

N, D = 23, 4


class Threads(SingleProcess):
    """Ranks that are threads of this process, and meet at a barrier."""

    def __init__(self, rank, size, barrier, desks):
        self.rank = rank
        self.size = size
        self.barrier = barrier
        self.desks = desks

    def _exchange(self, value):
        self.desks[self.rank] = value
        self.barrier.wait()
        values = list(self.desks)
        self.barrier.wait()
        return values

    def all_gather(self, local):
        return torch.cat(self._exchange(local))

    def gather_to_rank_zero(self, rows, counts):
        parts = self._exchange(rows)
        assert [len(part) for part in parts] == counts
        return torch.cat(parts)

    def all_to_all(self, rows, send_counts, receive_counts):
        parts = []
        for sent in self._exchange(rows.split(send_counts)):
            parts.append(sent[self.rank])
        assert [len(part) for part in parts] == receive_counts
        return torch.cat(parts)


def on_each_rank(size, work):
    """Run ``work(communicator)`` on every rank at once."""
    barrier = Barrier(size)
    desks = [None] * size

    def work_or_abort(communicator):
        try:
            return work(communicator)
        except BaseException:
            barrier.abort()  # the others would wait for ever
            raise

    ranks = [Threads(rank, size, barrier, desks) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work_or_abort, ranks))


@pytest.mark.parametrize("size", [1, 3, 4])
def test_shards_look_up_and_move_the_rows_of_the_whole(size):
    rows = normalize(torch.randn(N, D, generator=torch.manual_seed(0)))
    embeddings = normalize(torch.randn(size, 3, D))
    indices = torch.randint(N, (size, 3))
    whole = LocalBank(rows)
    bounds = shard_bounds(N, size)

    def work(communicator):
        start, end = bounds[communicator.rank : communicator.rank + 2]
        bank = ShardedBank(LocalBank(rows[start:end]), N, communicator)
        assert bank.local_range == (start, end)
        own = indices[communicator.rank]
        found = bank.lookup(own.view(3, 1))
        bank.update(own, embeddings[communicator.rank], 0.5)
        return found, bank.state_dict()["rows"]

    results = on_each_rank(size, work)
    for rank, (found, _) in enumerate(results):
        torch.testing.assert_close(found, whole.lookup(indices[rank].view(3, 1)))
    whole.update(indices.flatten(), embeddings.flatten(0, 1), 0.5)
    torch.testing.assert_close(results[0][1], whole.rows)


@pytest.mark.parametrize("size", [1, 2, 7, 23, 30])
def test_shards_are_even_and_cover_all_rows(size):
    bounds = shard_bounds(N, size)
    lengths = [end - start for start, end in zip(bounds, bounds[1:], strict=False)]
    assert len(lengths) == size and sum(lengths) == N
    assert max(lengths) - min(lengths) <= 1


def test_the_bytes_counted_are_rows_and_the_requests_for_them():
    sizes = {"num_rows": N, "num_devices": 4, "batch_size": 8, "embed_dim": D}
    workload = Workload(bank_dtype="bfloat16", **sizes)
    requests, rows = lookup_messages(workload, "rows", num_rows=5, num_lookups=2)
    assert (requests.num_bytes, rows.num_bytes) == (2 * 4 * 8 + 5 * 8, 5 * D * 2)
    [message] = update_messages(workload)
    assert message.num_bytes == 2 * (4 * D + 8), "fp32 whatever the bank keeps"
