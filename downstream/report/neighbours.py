"""What a store's features know about each other: votes of the nearest rows, each query left out of its own vote."""

from dataclasses import dataclass

import numpy as np
import torch

from downstream.retrieval import Store
from downstream.retrieval.query import Queries, neighbours
from downstream.voting import class_votes

K, TEMPERATURE = 200, 0.07
QUERIES, SHOWN = 1000, 10


@dataclass(kw_only=True)
class Vote:
    """Of Q sampled rows.

    Attributes:
        queries: Q row numbers.
        rows, cosines: Q×10 nearest other rows, falling.
        found: Q classes by weighted vote of the nearest; None without labels.
        k: neighbours that voted.
    """

    queries: np.ndarray
    rows: np.ndarray
    cosines: np.ndarray
    found: np.ndarray | None
    k: int


def vote(store: Store, *, queries: int = QUERIES, seed: int = 0) -> Vote:
    """Let the nearest other rows vote on a sample of rows (Wu et al. 2018, section 3.4: weights exp(cos/τ)).

    Args:
        store: at least two rows.
        queries: how many rows are asked at most; labelled ones where there are any.
        seed: of the sample.
    """
    labels = np.asarray(store.labels)
    able = np.flatnonzero(labels >= 0)
    able = able if len(able) > 1 else np.arange(len(store))
    asked = np.sort(np.random.default_rng(seed).permutation(able)[:queries])
    k = min(K, len(store) - 1)
    own = asked.tolist()
    cosines, rows = neighbours(
        store, Queries(names=[""] * len(own), vectors=store.take(asked), own=own), k
    )
    found = None
    if classes := len(store.classes):
        voters = torch.from_numpy(labels.astype(np.int64))[rows]
        voters[voters < 0] = classes  # no class: a vote of its own, which does not count
        found = class_votes(cosines, voters, TEMPERATURE, classes + 1)[:, :-1].argmax(1).numpy()
    return Vote(
        queries=asked,
        rows=rows[:, :SHOWN].numpy(),
        cosines=cosines[:, :SHOWN].numpy(),
        found=found,
        k=k,
    )
