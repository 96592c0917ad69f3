"""The kNN score of a model in training.

The bank's rows are the reference, so only the test images are embedded.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.features.extract import embeddings
from downstream.nearest import nearest
from downstream.voting import class_votes
from pretrain.communicator import Communicator
from pretrain.memory_bank import MemoryBank, shard_bounds
from pretrain.trainer import Monitor
from zoo import Backbone, DataError
from zoo.data.sources import Source, Subset, log_notes
from zoo.data.splits import labelled_test
from zoo.errors import SplitError

_NEIGHBOURS = 200  # that vote (paper)
_TEMPERATURE = 0.07  # of their weights (paper)
_ROWS_PER_CHUNK = 1 << 16


def knn_monitor(
    train: Source, *, device: str, workers: int, on_score: Callable[[float], None]
) -> Monitor | None:
    """Make a monitor for ``pretrain`` that scores a model by its nearest neighbours.

    Args:
        train: The training images.
        device: Where the model runs.
        workers: Processes that decode images; 0 for this one.
        on_score: Called with each top-1 accuracy, 0–1.

    Returns:
        None where the data set has no labels or no test split; where its labels cannot be used, the
        log says why.
    """
    if train.labels is None or train.classes is None:
        return None
    try:
        test = labelled_test(train)
    except SplitError:
        return None
    except DataError as error:
        log_notes("no kNN score while training: ", [str(error)])
        return None
    train_labels = torch.from_numpy(train.labels)
    num_classes = len(train.classes)

    def monitor(model: Backbone, bank: MemoryBank) -> dict[str, float]:
        """Score the model.

        Each process embeds a share of the test images and searches its rows of the bank for all.
        """
        communicator = bank.communicator
        bounds = shard_bounds(len(test), communicator.size)
        share: Source = test
        if communicator.size > 1:
            start, end = bounds[communicator.rank : communicator.rank + 2]
            share = Subset(test, np.arange(start, end))
        local_queries, readable = embeddings(model, share, device=device, workers=workers)
        queries = torch.cat(communicator.all_gather_object(local_queries))
        votes = _voters(train_labels, train.bad)
        k = min(_NEIGHBOURS, int(votes.sum()))
        cosines, neighbours = _nearest_local(bank, queries, train_labels, votes, k)
        cosines, neighbours = merge_nearest(communicator, cosines, neighbours, k, bounds)
        predicted = class_votes(cosines, neighbours, _TEMPERATURE, num_classes).argmax(1)
        share_labels, _ = share.require_labels()
        correct = (predicted == torch.from_numpy(share_labels))[readable].sum()
        counts = communicator.all_reduce_sum(torch.stack([correct, readable.sum()]))
        num_correct, num_readable = counts.tolist()
        if not num_readable:
            log_notes("no kNN score: ", [f"none of {len(test)} test images could be read"])
            return {}
        top1 = num_correct / num_readable
        on_score(top1)
        return {"top1": top1}

    return monitor


def _nearest_local(
    bank: MemoryBank, queries: Tensor, labels: Tensor, votes: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The nearest of this process's rows that may vote, on the CPU.

    Args:
        bank: Of all training images.
        queries: Q×D.
        labels: N class numbers of the training images.
        votes: N bools, which of them may vote.
        k: Neighbours at most.

    Returns:
        Q×c cosines, falling, and Q×c labels.
    """
    rows = torch.cat([chunk.float() for chunk in bank.iter_chunks(_ROWS_PER_CHUNK)])
    queries = queries.to(rows.device)
    first_row, _ = bank.local_range
    voters = votes[first_row : first_row + len(rows)].nonzero()[:, 0]
    if len(voters) < len(rows):
        rows = rows[voters.to(rows.device)]
    if not len(rows):
        nothing = torch.empty(len(queries), 0)
        return nothing, nothing.long()
    cosines, positions = nearest(rows, queries, min(k, len(rows)))
    return cosines.cpu(), labels[voters[positions.cpu()] + first_row]


def _voters(labels: Tensor, bad: set[int]) -> Tensor:
    """N bools: the images that have a label and, as far as is known, can be read."""
    voters = labels >= 0
    voters[sorted(bad)] = False
    return voters


def merge_nearest(
    communicator: Communicator, cosines: Tensor, labels: Tensor, k: int, bounds: list[int]
) -> tuple[Tensor, Tensor]:
    """Pick the k nearest of all rows out of the nearest that each process found among its own.

    Args:
        communicator: The processes.
        cosines: Q×c, falling, of all queries with this process's rows; c is less than k only where
            it has fewer rows.
        labels: Q×c, of these rows.
        k: How many to keep.
        bounds: Where each process's share of the queries begins, and the end.

    Returns:
        q×k cosines, falling, and labels, of this process's share of the queries.
    """
    if communicator.size == 1:
        return cosines, labels
    send_counts = [end - start for start, end in zip(bounds, bounds[1:], strict=False)]
    receive_counts = [send_counts[communicator.rank]] * communicator.size

    def of_all_processes(values: Tensor, filler: float) -> Tensor:
        padded = F.pad(values, (0, k - values.shape[1]), value=filler)
        received = communicator.all_to_all(padded, send_counts, receive_counts)
        return torch.cat(received.chunk(communicator.size), 1)

    cosines, order = of_all_processes(cosines, -torch.inf).topk(k, dim=1)
    return cosines, of_all_processes(labels, 0).gather(1, order)
