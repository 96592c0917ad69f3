import math

import pytest
import torch

from pretrain.losses import build
from pretrain.losses.nce import NCEConfig, estimate_log_z, nce
from tests.pretrain.losses.example import TAU, B, D, N, slope


def by_hand(v, index, negatives, bank, log_z, exclude):
    """Eq. 4–7, term by term."""
    m, total = negatives.shape[-1], []
    for b in range(len(v)):

        def posterior(j, b=b):
            p = torch.exp(v[b].double() @ bank[j].double() / TAU) / math.exp(log_z)
            return p / (p + m / len(bank))

        terms = -torch.log(posterior(index[b]))
        for j in negatives if negatives.ndim == 1 else negatives[b]:
            if not (exclude and j == index[b]):
                terms = terms - torch.log(1 - posterior(j))
        total.append(terms)
    return torch.stack(total)


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("shape", [(40,), (B, 150)])
def test_nce_is_its_definition(setup, shape, exclude):
    v, index, bank = setup
    negatives = torch.randint(N, shape)
    negatives[..., 0] = 3  # a hit
    loss = nce(v, index, negatives, bank, TAU, torch.tensor(7.0), exclude_positive=exclude)
    expected = by_hand(v, index, negatives, bank, 7.0, exclude)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(slope(loss, v), slope(expected, v), rtol=1e-4, atol=1e-5)


def test_z_is_the_mean_partition_sum(setup):
    v, _, bank = setup
    every = torch.arange(N)
    expected = torch.exp(v.double() @ bank.double().T / TAU).sum(1).mean().log()
    torch.testing.assert_close(
        estimate_log_z(v, every, bank, TAU).double(), expected, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("z", ["monte-carlo", "ema"])
def test_z_is_held_or_follows(setup, z):
    v, index, bank = setup
    objective = build(NCEConfig(z=z, z_batches=2, temperature=TAU, negatives=50), N, D)
    seen = []
    for step in range(4):
        objective(v, index, bank, torch.Generator().manual_seed(step))
        seen.append(objective.log_z.item())
    assert seen[0] != seen[1] and (seen[2] == seen[3]) == (z == "monte-carlo")
    assert set(objective.state_dict()) == {"log_z", "seen"}
