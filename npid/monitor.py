"""The kNN score of a model in training: bank rows are the reference, so only the test images are embedded."""

from collections.abc import Callable
from typing import Any

import torch

from downstream.features import embeddings
from downstream.knn import knn
from zoo import DataError
from zoo.sources import Source, open_source


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
        queries, good = embeddings(model, test, device=device, workers=workers)
        answer = torch.from_numpy(test.labels)
        rows = bank.read(torch.arange(len(bank), device=bank.rows.device)).cpu()
        found = knn(rows, labels, queries.cpu(), k=min(200, len(rows)))
        top1 = (found == answer)[good].float().mean().item()
        told(top1)
        return {"top1": top1}

    return monitor
