import pytest
import torch

from pretrain.attention import exact
from pretrain.losses.infonce import infonce
from tests.pretrain.losses.example import TAU, B, D, N, slope


def others(index):
    return torch.stack(
        [torch.cat([torch.arange(i), torch.arange(i + 1, N)]) for i in index.tolist()]
    )


def test_infonce_with_every_instance_as_a_negative_is_exact(setup):
    v, index, bank = setup
    expected = exact(v, index, bank, TAU)
    for negatives in (
        others(index),
        torch.arange(N),
    ):  # its own rows; shared, where the positive is left out
        for rescale_negatives in (False, True):
            loss = infonce(v, index, negatives, bank, TAU, rescale_negatives=rescale_negatives)
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(slope(loss, v), slope(expected, v))


@pytest.mark.parametrize("rescale_negatives", [True, False])
@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("tau", [TAU, 0.005])  # of the small one exponentials do not fit in fp32
@pytest.mark.parametrize("shape", [(1,), (5000,), (B, 150)])
def test_infonce_is_its_definition(setup, shape, tau, exclude, rescale_negatives):
    v, index, bank = setup
    negatives = torch.randint(N, shape)
    negatives[..., 0] = 3
    loss = infonce(
        v,
        index,
        negatives,
        bank,
        tau,
        exclude_positive=exclude,
        rescale_negatives=rescale_negatives,
    )
    rows = bank[negatives].double().expand(B, -1, D)
    scores = torch.einsum("bd,bmd->bm", v.double(), rows) / tau
    hit = (negatives == index[:, None]) & exclude
    scores = scores.masked_fill(hit, -torch.inf)
    if rescale_negatives:
        scores = scores + torch.log((N - 1) / (~hit).sum(1, keepdim=True).clamp(min=1).double())
    positive = (v.double() * bank[index].double()).sum(1, keepdim=True) / tau
    expected = torch.cat([positive, scores], 1).logsumexp(1) - positive[:, 0]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope(loss, v), slope(expected, v), rtol=1e-4, atol=1e-6 / tau)
