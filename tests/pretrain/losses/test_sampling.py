"""Drawing negatives, and their products against plain ones."""

import pytest
import torch

from pretrain.losses import sampling
from pretrain.losses.sampling import (
    SampledConfig,
    draw_negatives,
    iter_negative_scores,
    mask_positives,
    weighted_sum,
)
from pretrain.memory_bank import LocalBank
from tests.pretrain.losses.example import B, D, N


def draw(indices, num_rows, **settings):
    config = SampledConfig(**settings)
    return draw_negatives(indices, num_rows, config, torch.Generator().manual_seed(0))


def test_own_negatives_are_every_image_but_the_positive():
    indices = torch.tensor([0, 2, 4])
    drawn = draw(indices, 5, negatives=500)
    assert drawn.shape == (3, 500)
    for negatives, index in zip(drawn, indices.tolist(), strict=True):
        assert set(negatives.tolist()) == set(range(5)) - {index}


def test_positives_are_among_them_where_they_are_not_excluded():
    drawn = draw(torch.tensor([4]), 5, negatives=500, exclude_positive=False)
    assert set(drawn[0].tolist()) == set(range(5))


def test_shared_negatives_are_one_set_for_the_batch():
    drawn = draw(torch.tensor([0, 1, 2]), 5, negatives=40, shared=True)
    assert drawn.shape == (40,)


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(90,), (B, 90), (B, 4000)])
def test_scores_of_all_parts_together_are_the_plain_products(setup, monkeypatch, shape, storage):
    monkeypatch.setattr(sampling, "_CPU_CHUNK", 100)
    embeddings, _, rows = setup
    bank = LocalBank(rows, storage)
    negatives = torch.randint(N, shape)
    embeddings = embeddings.detach().to(bank.dtype)
    sums = torch.zeros(B, D)
    counted = torch.zeros(B)
    for part in iter_negative_scores(embeddings, negatives, bank):
        own = embeddings[part.images].float()
        fetched = bank.lookup(part.negatives).float()
        if part.negatives.ndim == 1:
            fetched = fetched.expand(len(own), -1, -1)
        expected = torch.einsum("bd,bcd->bc", own, fetched)
        torch.testing.assert_close(part.scores.float(), expected, rtol=2e-2, atol=2e-2)
        sums[part.images] += weighted_sum(torch.ones_like(part.scores), part.rows)
        counted[part.images] += part.scores.shape[1]
    assert counted.tolist() == [shape[-1]] * B
    everything = bank.lookup(negatives).float().expand(B, -1, -1).sum(1)
    torch.testing.assert_close(sums, everything, rtol=2e-2, atol=0.2)


@pytest.mark.parametrize("shape", [(90,), (B, 90)])
def test_hits_are_masked_and_counted(setup, shape):
    _, indices, _ = setup
    negatives = torch.randint(N, shape)
    negatives[..., 5] = 300
    negatives[..., 80] = 3
    scores = torch.zeros(B, 90)
    counts = mask_positives(scores, negatives, indices, -1.0)
    hits = (negatives == indices[:, None]).expand(B, 90)
    assert torch.equal(scores == -1, hits)
    assert torch.equal(counts, hits.sum(1)) and counts[0] > 0
