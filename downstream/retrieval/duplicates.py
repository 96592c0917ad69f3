"""Near-duplicates within a store: blocks of cosines against blocks, and never N×N of them."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from downstream.features.extract import OnImages
from downstream.features.store import FeatureStore
from zoo import SettingsError

_BLOCK = 4096  # 64 MiB of cosines
_MAX_PAIRS = 1 << 20  # that are kept before they are joined to groups
_ROUNDING = 1e-6  # the fp32 product of equal unit vectors may fall short of 1


def duplicate_groups(
    store: FeatureStore, threshold: float = 0.98, on_progress: OnImages | None = None
) -> list[list[int]]:
    """Group images that are alike: each has a cosine of at least the threshold to another one.

    Takes N²/2 products of D, without an index: exact.

    Args:
        store: of unit vectors.
        threshold: cosine, above 0 and at most 1.
        on_progress: called with the number of rows at a time.

    Returns:
        Groups of two or more row numbers, the largest first.

    Raises:
        SettingsError: if the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise SettingsError(
            f"the threshold of duplicates is a cosine above 0 and at most 1, got {threshold}"
        )
    group_of = np.arange(len(store))
    waiting: list[np.ndarray] = []
    num_waiting = 0
    for pairs in _similar_pairs(store, threshold, on_progress):
        joined = np.unique(np.sort(group_of[pairs], axis=1), axis=0)
        waiting.append(joined[joined[:, 0] != joined[:, 1]])
        num_waiting += len(waiting[-1])
        if num_waiting > _MAX_PAIRS:
            group_of = _merge_groups(group_of, waiting)
            waiting = []
            num_waiting = 0
    if num_waiting:
        group_of = _merge_groups(group_of, waiting)
    order = np.argsort(group_of, kind="stable")
    starts = np.flatnonzero(np.diff(group_of[order])) + 1
    groups = [rows.tolist() for rows in np.split(order, starts) if len(rows) > 1]
    return sorted(groups, key=_largest_first)


def _largest_first(rows: list[int]) -> tuple[int, int]:
    return -len(rows), rows[0]


def _similar_pairs(
    store: FeatureStore, threshold: float, on_progress: OnImages | None
) -> Iterator[np.ndarray]:
    """Yield P×2 row numbers, the first smaller, for each pair of blocks."""
    blocks = store.embeddings.split(_BLOCK)
    for i, block in enumerate(blocks):
        rows = block.float()
        for j in range(i, len(blocks)):
            is_similar = rows @ blocks[j].float().T >= threshold - _ROUNDING
            if i == j:
                is_similar = is_similar.triu_(1)
            if is_similar.any():
                first_rows = torch.tensor([i * _BLOCK, j * _BLOCK])
                yield (is_similar.nonzero() + first_rows).numpy()
        if on_progress is not None:
            on_progress(len(block))


def _merge_groups(group_of: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """Merge groups that are joined by pairs of group numbers (each P×2).

    Returns:
        N new group numbers.
    """
    size = len(group_of)
    first, second = np.concatenate(pairs).T
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(size, size))
    _, merged = connected_components(links, directed=False)
    new_groups: np.ndarray = merged[group_of]
    return new_groups
