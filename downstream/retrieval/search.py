"""The nearest rows of a store."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from downstream.features.store import FeatureStore
from downstream.nearest import nearest
from zoo import SettingsError

_ROWS_IN_MEMORY = 1 << 16  # at a time while re-ranking


class Proposer(Protocol):
    """What an index does: guess the nearest rows."""

    def propose(
        self, queries: Tensor, num_candidates: int | None, top: int
    ) -> tuple[Tensor, Tensor]:
        """Guess the nearest rows of Q×D queries.

        Returns:
            Q×C scores and row numbers, −1 where fewer were found.
        """


def search(
    store: FeatureStore,
    queries: Tensor,
    top: int = 10,
    *,
    index: Proposer | None = None,
    num_candidates: int | None = None,
    reranked: bool = True,
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows of each query, by their dot products.

    Without an index the search is exact and reads all rows, a block at a time. An index proposes
    candidates; their rows, and no others, are read from the map and put into order by their exact
    products.

    Args:
        store: the rows.
        queries: Q×D unit vectors (a model's ``embed``).
        top: how many.
        index: see :func:`downstream.retrieval.index.open_index`.
        num_candidates: how many an index proposes; by default as many as were found to be enough
            when it was built.
        reranked: whether candidates are compared exactly; otherwise the index has the last word.

    Returns:
        Q×top scores (fp32, falling) and Q×top row numbers, −1 (and a score of −inf) where an index
        found fewer.

    Raises:
        SettingsError: if ``top`` is not within 1 and the number of rows, or the queries are not
            D wide.

    Example:
        >>> import tempfile
        >>> from downstream.features.manifest import StoreManifest
        >>> from downstream.features.store_writer import open_writer
        >>> new = StoreManifest(model="mine", model_sha256="", input={}, dim=2, dtype="float32")
        >>> folder = tempfile.mkdtemp()
        >>> with open_writer(folder, new) as writer:
        ...     writer.append(torch.eye(2), ["a.png", "b.png"], [0, 0], np.array([-1, -1]))
        >>> store = FeatureStore.open(folder)
        >>> scores, rows = search(store, torch.tensor([[0.6, 0.8]]), top=2)
        >>> scores, rows
        (tensor([[0.8000, 0.6000]]), tensor([[1, 0]]))
    """
    if queries.ndim != 2 or queries.shape[1] != store.dim:
        raise SettingsError(
            f"queries must be Q×{store.dim} like the rows of {store.folder}, "
            f"got {list(queries.shape)}"
        )
    if not 1 <= top <= len(store):
        raise SettingsError(
            f"top must lie between 1 and the {len(store)} images of {store.folder}, got {top}"
        )
    if index is None:
        return nearest(store.embeddings, queries, top)
    scores, rows = index.propose(queries, num_candidates, top)
    if reranked:
        return rerank(store, queries, rows, top)
    return scores[:, :top], rows[:, :top]


def rerank(store: FeatureStore, queries: Tensor, rows: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Put candidates in the order of their exact products.

    Args:
        store: the rows.
        queries: Q×D.
        rows: Q×C row numbers, −1 for none.
        top: how many are kept.

    Returns:
        Q×top products (fp32, falling) and Q×top row numbers.
    """
    best_scores: list[Tensor] = []
    best_rows: list[Tensor] = []
    batch_size = max(1, _ROWS_IN_MEMORY // rows.shape[1])
    query_batches = queries.float().split(batch_size)
    for query, candidates in zip(query_batches, rows.split(batch_size), strict=True):
        existing = np.maximum(candidates.numpy(), 0)
        vectors = store.take(existing).view(*candidates.shape, store.dim)
        products = torch.bmm(vectors, query[:, :, None])[:, :, 0]
        products.masked_fill_(candidates < 0, -torch.inf)
        products, order = products.topk(top, dim=1)
        best_scores.append(products)
        best_rows.append(candidates.gather(1, order))
    return torch.cat(best_scores), torch.cat(best_rows)
