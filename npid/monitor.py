"""The kNN score of a model in training: bank rows are the reference, so only the test images are embedded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.features.extract import embeddings
from downstream.nearest import nearest
from downstream.voting import class_votes
from pretrain.communicator import Communicator
from pretrain.memory_bank import shard_bounds
from zoo import DataError
from zoo.data.sources import Source, Subset, open_source

_K, _TEMPERATURE = 200, 0.07  # neighbours that vote, and τ of their weights (paper)


def knn_monitor(train: Source, *, device: str, workers: int, told: Callable[[float], None]) -> Any:
    """A monitor for ``pretrain``, or None where the data set has no labels or no test split.

    Args:
        train: the training images.
        told: is called with each top-1 accuracy, 0–1.
    """
    if train.labels is None:
        return None
    try:
        test = open_source(train.data, "test", skip_bad=train.skip_bad)
    except DataError:
        return None
    if test.labels is None:
        return None
    labels = torch.from_numpy(train.labels)

    def monitor(model: Any, bank: Any) -> dict[str, float]:
        """Each process embeds a share of the test images and searches its share of the rows for all of them."""
        communicator, k = bank.communicator, min(_K, len(bank))
        cuts = shard_bounds(len(test), communicator.size)
        share = (
            Subset(test, np.arange(*cuts[communicator.rank : communicator.rank + 2]))
            if communicator.size > 1
            else test
        )
        mine, good = embeddings(model, share, device=device, workers=workers)
        rows = torch.cat([some.float() for some in bank.iter_chunks(1 << 16)])
        queries = torch.cat(communicator.all_gather_object(mine)).to(rows.device)
        cosines, at = nearest(rows, queries, min(k, len(rows)))
        near = labels[at.cpu() + bank.local_range[0]]
        found = class_votes(
            *best(communicator, cosines.cpu(), near, k, cuts), _TEMPERATURE, int(labels.max()) + 1
        ).argmax(1)
        right = (found == torch.from_numpy(share.labels))[good].sum()
        right, asked = communicator.all_reduce_sum(torch.stack([right, good.sum()])).tolist()
        told(top1 := right / asked)
        return {"top1": top1}

    return monitor


def best(
    communicator: Communicator, cosines: Tensor, labels: Tensor, k: int, cuts: list[int]
) -> tuple[Tensor, Tensor]:
    """The k nearest of all rows, for a share of the queries, out of the nearest that each process found among its own.

    Args:
        cosines, labels: Q×c, of this process's rows; c is less than k only where it has fewer.
        cuts: where each process's share of the queries begins, and the end.

    Returns:
        q×k cosines, falling, and labels, of this process's share.
    """
    if communicator.size == 1:
        return cosines, labels
    give = [end - start for start, end in zip(cuts, cuts[1:], strict=False)]
    take = [give[communicator.rank]] * communicator.size

    def everyones(x: Tensor, filler: float) -> Tensor:
        padded = F.pad(x, (0, k - x.shape[1]), value=filler)
        return torch.cat(communicator.all_to_all(padded, give, take).chunk(communicator.size), 1)

    cosines, order = everyones(cosines, -torch.inf).topk(k, dim=1)
    return cosines, everyones(labels, 0).gather(1, order)
