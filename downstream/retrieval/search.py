"""The nearest rows of a store."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from downstream.features.store import Store
from downstream.nearest import nearest
from zoo import SettingsError

_TAKEN = 1 << 16  # rows in memory at a time while re-ranking


class Candidates(Protocol):
    """What an index does: guess the nearest rows."""

    def candidates(self, queries: Tensor, count: int | None, top: int) -> tuple[Tensor, Tensor]:
        """Q×C scores and row numbers, −1 where fewer were found."""


def search(
    store: Store,
    queries: Tensor,
    top: int = 10,
    *,
    index: Candidates | None = None,
    candidates: int | None = None,
    exactly: bool = True,
) -> tuple[Tensor, Tensor]:
    """The nearest rows of each query, by their dot products.

    Without an index the search is exact and reads all rows, a block at a time. An index proposes candidates; their
    rows, and no others, are read from the map and put into order by their exact products.

    Args:
        queries: Q×D unit vectors (a model's ``embed``).
        top: how many.
        index: see :func:`downstream.retrieval.index.open_index`.
        candidates: how many an index proposes; by default as many as were found to be enough when it was built.
        exactly: whether candidates are compared exactly; otherwise the index has the last word.

    Returns:
        Q×top scores (fp32, falling) and Q×top row numbers, −1 (and a score of −inf) where an index found fewer.

    Raises:
        SettingsError: if ``top`` is not within 1 and the number of rows, or the queries are not D wide.
    """
    if queries.ndim != 2 or queries.shape[1] != store.dim:
        raise SettingsError(
            f"queries must be Q×{store.dim} like the rows of {store.folder}, got {list(queries.shape)}"
        )
    if not 1 <= top <= len(store):
        raise SettingsError(
            f"top must lie between 1 and the {len(store)} images of {store.folder}, got {top}"
        )
    if index is None:
        return nearest(store.vectors, queries, top)
    scores, rows = index.candidates(queries, candidates, top)
    if exactly:
        return rerank(store, queries, rows, top)
    return scores[:, :top], rows[:, :top]


def rerank(store: Store, queries: Tensor, rows: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Candidates (Q×C row numbers, −1 for none) in the order of their exact products: the first ``top`` of them."""
    found = []
    some = max(1, _TAKEN // rows.shape[1])
    for query, at in zip(queries.float().split(some), rows.split(some), strict=True):
        vectors = store.take(np.maximum(at.numpy(), 0)).view(*at.shape, store.dim)
        scores = torch.bmm(vectors, query[:, :, None])[:, :, 0].masked_fill_(at < 0, -torch.inf)
        scores, order = scores.topk(top, dim=1)
        found.append((scores, at.gather(1, order)))
    scores, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
    return scores, rows
