import math
import subprocess
import sys
from collections import defaultdict

import pytest
import torch
from torch.nn.functional import normalize

from downstream import nearest
from downstream.voting import weighted_knn
from zoo.errors import SettingsError


def by_hand(bank, labels, queries, k, temperature):
    answers = []
    for query in queries.tolist():
        cosines = [sum(a * b for a, b in zip(query, row, strict=True)) for row in bank.tolist()]
        votes = defaultdict(float)
        for j in sorted(range(len(cosines)), key=lambda j: -cosines[j])[:k]:
            votes[int(labels[j])] += math.exp(cosines[j] / temperature)
        answers.append(max(votes, key=votes.__getitem__))
    return answers


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (60, 1.0), (150, 0.03)])
def test_the_vote_is_the_one_written_out(k, temperature, monkeypatch):
    monkeypatch.setattr(nearest, "_QUERIES", 7)
    monkeypatch.setattr(nearest, "_ROWS", 40)
    torch.manual_seed(0)
    bank, queries, labels = (
        normalize(torch.randn(150, 8)),
        normalize(torch.randn(20, 8)),
        torch.randint(4, (150,)),
    )
    found = weighted_knn(bank, labels, queries, k=k, temperature=temperature)
    assert found.tolist() == by_hand(bank, labels, queries, k, temperature)


def test_a_k_or_temperature_out_of_range_is_refused():
    eye = torch.eye(3)
    for k in (0, 4):
        with pytest.raises(SettingsError, match=f"between 1 and the 3 images of the bank, got {k}"):
            weighted_knn(eye, torch.arange(3), eye, k=k)
    with pytest.raises(SettingsError, match="temperature"):
        weighted_knn(eye, torch.arange(3), eye, k=1, temperature=0)


PEAK = """
import resource, torch
from torch.nn.functional import normalize
from downstream.voting import weighted_knn
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
bank = torch.empty(500_000, 64, dtype=torch.bfloat16)
for rows in bank.split(10_000):
    rows.copy_(normalize(torch.randn(rows.shape)))
labels, queries = torch.randint(10, (500_000,)), normalize(torch.randn(1000, 64))
weighted_knn(bank[:20_000], labels[:20_000], queries[:10])
before = peak()
weighted_knn(bank, labels, queries)
print(peak() - before)
"""


@pytest.mark.slow
def test_queries_by_rows_are_never_held():
    out = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 200e6 < 1000 * 500_000 * 4 / 5
