"""What a store's features know about each other: classes by a vote of the nearest rows."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from downstream.retrieval import FeatureStore
from downstream.retrieval.query import Queries, search_others
from downstream.voting import class_votes

NUM_VOTERS = 200
TEMPERATURE = 0.07
MAX_QUERIES = 1000
NUM_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class NeighbourVotes:
    """The nearest other rows of Q sampled rows, and the classes that they voted for.

    Attributes:
        queries: Q row numbers.
        rows: Q×10 nearest other rows, the nearest first.
        cosines: Q×10, falling.
        predicted: Q classes by weighted vote; None without labels.
        k: how many neighbours voted.
    """

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]
    predicted: NDArray[np.int64] | None
    k: int


def vote(store: FeatureStore, *, max_queries: int = MAX_QUERIES, seed: int = 0) -> NeighbourVotes:
    """Let the nearest other rows vote on the class of sampled rows.

    The weights are exp(cos/τ) (Wu et al. 2018, section 3.4).

    Args:
        store: at least two rows.
        max_queries: how many rows are sampled at most; labelled ones where there are any.
        seed: of the sample.
    """
    labels = np.asarray(store.labels)
    queries = _sample(labels, max_queries, seed)
    k = min(NUM_VOTERS, len(store) - 1)
    own_rows = queries.tolist()
    vectors = Queries(names=[""] * len(own_rows), embeddings=store.take(queries), own_rows=own_rows)
    cosines, rows = search_others(store, vectors, k)
    predicted = None
    if store.classes:
        predicted = _predict(labels, rows, cosines, len(store.classes))
    return NeighbourVotes(
        queries=queries,
        rows=rows[:, :NUM_SHOWN].numpy(),
        cosines=cosines[:, :NUM_SHOWN].numpy(),
        predicted=predicted,
        k=k,
    )


def _sample(labels: NDArray[np.int32], count: int, seed: int) -> NDArray[np.int64]:
    candidates = np.flatnonzero(labels >= 0)
    if len(candidates) < 2:
        candidates = np.arange(len(labels))
    return np.sort(np.random.default_rng(seed).permutation(candidates)[:count])


def _predict(
    labels: NDArray[np.int32], rows: Tensor, cosines: Tensor, num_classes: int
) -> NDArray[np.int64]:
    voters = torch.from_numpy(labels.astype(np.int64))[rows]
    voters[voters < 0] = num_classes  # no class: a vote of its own, which does not count
    scores = class_votes(cosines, voters, TEMPERATURE, num_classes + 1)
    predicted: NDArray[np.int64] = scores[:, :-1].argmax(1).numpy()
    return predicted
