"""Confusion matrices."""

import numpy as np

from downstream.report.confusion import confusion


def test_confusion_dense_and_sparse_agree_and_many_classes_become_pairs():
    table = np.random.default_rng(0).integers(0, 5, (12, 12))
    names = [f"c{i}" for i in range(12)]
    dense = confusion("", table.tolist(), names)
    entries = [[i, j, int(table[i, j])] for i in range(12) for j in range(12)]
    sparse = confusion("", entries, names)
    assert dense == sparse and dense.counts == table.tolist()
    large = np.zeros((40, 40), int)
    large[3, 4], large[7, 1], large[5, 5] = 9, 11, 100
    found = confusion("", large.tolist(), [str(i) for i in range(40)])
    assert not found.counts and found.pairs == [("7", "1", 11), ("3", "4", 9)]
    assert confusion("", ["no table"], []) is None
