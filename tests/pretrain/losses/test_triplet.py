"""The triplet loss against its definition, row by row in float64."""

import pytest
import torch
from torch.nn.functional import normalize, softplus

from pretrain.losses.triplet import TripletConfig, mine_negatives, triplet
from pretrain.memory_bank import LocalBank

N, D, B = 5000, 16, 6


@pytest.fixture
def example():
    torch.manual_seed(0)
    rows = normalize(torch.randn(N, D))
    indices = torch.tensor([0, 17, N - 1, 2048, 17, 3])
    embeddings = normalize(rows[indices] + 0.8 * torch.randn(B, D))
    embeddings[0] = rows[0]  # nothing is nearer than its own row
    embeddings[5] = -rows[3]  # almost everything is
    return embeddings, indices, rows


def by_hand(embedding, index, rows, semi_hard):
    """The nearest row of another image; of those beyond the own row, if there are any."""
    scores = (rows.double() @ embedding.double()).tolist()
    others = [row for row in range(len(rows)) if row != index]
    beyond = [row for row in others if scores[row] < scores[index]]
    return max(beyond if semi_hard and beyond else others, key=scores.__getitem__)


@pytest.mark.parametrize("semi_hard", [True, False])
def test_the_negatives_are_those_of_a_search_by_hand(example, semi_hard):
    embeddings, indices, rows = example
    expected = []
    for embedding, index in zip(embeddings, indices.tolist(), strict=True):
        expected.append(by_hand(embedding, index, rows, semi_hard))
    for bank in (rows, LocalBank(rows)):
        found = mine_negatives(embeddings, indices, bank, semi_hard=semi_hard)
        assert found.tolist() == expected


def test_where_the_own_row_is_the_farthest_the_hardest_is_taken():
    rows = torch.eye(3)
    embeddings = normalize(torch.tensor([[-1.0, 0.5, 0.2]]))
    assert mine_negatives(embeddings, torch.tensor([0]), rows).tolist() == [1]


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_loss_is_its_definition(example, temperature):
    embeddings, indices, rows = example
    embeddings.requires_grad_()
    negatives = mine_negatives(embeddings, indices, rows)
    losses = triplet(embeddings, indices, negatives, rows, temperature, 0.3)
    own_distance = 1 - (embeddings.double() * rows[indices].double()).sum(1)
    other_distance = 1 - (embeddings.double() * rows[negatives].double()).sum(1)
    expected = softplus((0.3 + own_distance - other_distance) / temperature)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)
    (grad,) = torch.autograd.grad(losses.sum(), embeddings)
    (expected_grad,) = torch.autograd.grad(expected.sum(), embeddings)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-4, atol=1e-5)


def test_a_margin_below_zero_is_named():
    assert TripletConfig(margin=-1).faults(2) == ["loss.margin must not be negative, got -1"]
