"""Votes of the nearest rows."""

import math

import numpy as np

from downstream.report import neighbours
from downstream.retrieval import FeatureStore


def test_votes_are_those_of_a_slow_loop(store):
    opened = FeatureStore.open(store)
    rows = np.asarray(opened.rows, np.float64)
    labels = np.asarray(opened.labels)
    votes = neighbours.vote(opened, max_queries=50)
    assert votes.k == 200 and len(set(votes.queries)) == 50
    for i, query in enumerate(votes.queries):
        cosines = rows @ rows[query]
        cosines[query] = -math.inf
        near = np.argsort(-cosines)[:200]
        scores = np.zeros(10)
        for row in near:
            scores[labels[row]] += math.exp(cosines[row] / 0.07)
        assert votes.predicted[i] == int(np.argmax(scores))
        assert votes.rows[i].tolist() == near[:10].tolist()
