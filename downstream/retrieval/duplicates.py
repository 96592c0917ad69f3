"""Near-duplicates within a store: blocks of cosines against blocks, and never N×N of them."""

from collections.abc import Iterator

import numpy as np
import torch

from downstream.features.extract import OnImages
from downstream.features.store import Store
from zoo import SettingsError

_BLOCK = 4096  # 64 MiB of cosines
_EDGES = 1 << 20  # pairs that are kept before they are joined to groups


def duplicates(
    store: Store, threshold: float = 0.98, progress: OnImages | None = None
) -> list[list[int]]:
    """Groups of images that are alike: each is joined to another of its group by a cosine of at least the threshold.

    Takes N²/2 products of D, without an index: exact.

    Args:
        threshold: cosine, above 0 and at most 1.
        progress: is called with the number of rows at a time.

    Returns:
        Groups of two or more row numbers, the largest first.
    """
    if not 0 < threshold <= 1:
        raise SettingsError(
            f"the threshold of duplicates is a cosine above 0 and at most 1, got {threshold}"
        )
    group = np.arange(len(store))
    waiting: list[np.ndarray] = []
    for pairs in _pairs(store, threshold, progress):
        ends = np.unique(np.sort(group[pairs], axis=1), axis=0)
        waiting.append(ends[ends[:, 0] != ends[:, 1]])
        if sum(map(len, waiting)) > _EDGES:
            group, waiting = _joined(group, waiting), []
    group = _joined(group, waiting)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(
        (rows.tolist() for rows in groups if len(rows) > 1), key=lambda rows: (-len(rows), rows[0])
    )


def _pairs(store: Store, threshold: float, progress: OnImages | None) -> Iterator[np.ndarray]:
    """P×2 row numbers, the first smaller, for each pair of blocks."""
    blocks = store.vectors.split(_BLOCK)
    for i, block in enumerate(blocks):
        rows = block.float()
        for j in range(i, len(blocks)):
            alike = (
                rows @ blocks[j].float().T >= threshold - 1e-6
            )  # of equal vectors the fp32 product may fall short
            if i == j:
                alike = alike.triu_(1)
            if alike.any():
                yield (alike.nonzero() + torch.tensor([i * _BLOCK, j * _BLOCK])).numpy()
        if progress is not None:
            progress(len(block))


def _joined(group: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """The groups after some of them (E×2) were joined: each takes the smallest number that it is joined to."""
    root = np.arange(len(group))
    first, second = np.concatenate([np.empty((0, 2), int), *edges]).T
    while (root[first] != root[second]).any():
        low, high = np.minimum(root[first], root[second]), np.maximum(root[first], root[second])
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
    return root[group]
