"""Each objective against its definition, written out in float64."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.attention import exact
from pretrain.losses import LOSSES, build, loss_config_from_dict, loss_config_to_dict, proximal
from pretrain.losses.infonce import InfoNCEConfig, infonce
from pretrain.losses.nce import NCEConfig, estimate_log_z, nce
from pretrain.losses.parametric import parametric
from pretrain.memory_bank import LocalBank
from zoo import SettingsError

N, D, B, TAU = 301, 16, 5, 0.1


@pytest.fixture
def setup():
    torch.manual_seed(0)
    return (
        normalize(torch.randn(B, D)).requires_grad_(),
        torch.tensor([3, 0, 300, 7, 3]),
        normalize(torch.randn(N, D)),
    )


def slope(loss, v):
    return torch.autograd.grad(loss.sum(), v, retain_graph=True)[0]


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


def test_parametric_equals_a_linear_layer(setup):
    v, index, bank = setup
    weight = (3 * bank).requires_grad_()
    loss = parametric(v, index, weight, TAU)
    expected = torch.nn.functional.cross_entropy(v @ weight.T / TAU, index, reduction="none")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad((loss * torch.arange(B)).sum(), (v, weight)),
        torch.autograd.grad((expected * torch.arange(B)).sum(), (v, weight)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_proximal_term_has_autograds_gradient(setup):
    v, index, bank = setup
    term = proximal(v, bank[index])
    torch.testing.assert_close(term, 2 - 2 * (v * bank[index]).sum(1))
    torch.testing.assert_close(slope(term, v), 2 * (v - bank[index]))
    assert torch.autograd.gradcheck(
        lambda u: proximal(u, bank[index]).double(), v.double(), eps=1e-3, atol=1e-2
    )


@pytest.mark.parametrize("name", ["exact", "nce", "infonce", "parametric"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_every_objective_takes_every_bank_and_repeats_itself(setup, name, kind):
    v, index, bank = setup
    for shared in (False, True):
        torch.manual_seed(0)
        objective = build(
            loss_config_from_dict({"name": name, "shared": shared, "negatives": 64}), N, D
        )
        rows = LocalBank(bank, kind)
        first = objective(v, index, rows, torch.Generator().manual_seed(1))
        again = objective(v, index, rows, torch.Generator().manual_seed(1))
        assert first.shape == (B,) and first.dtype == torch.float32 and torch.isfinite(first).all()
        assert name == "nce" or torch.equal(first, again)
        plain = objective(v, index, bank, torch.Generator().manual_seed(1))
        assert name == "nce" or torch.allclose(first, plain, rtol=0.05, atol=0.05)


def test_settings_out_of_range_are_all_named():
    with pytest.raises(SettingsError, match="temperature.*negatives.*z must be"):
        build(NCEConfig(temperature=0, negatives=0, z="guess"), N, D)
    with pytest.raises(SettingsError, match="at least 2 images"):
        build(LOSSES["exact"].Config(), 1, D)
    with pytest.raises(SettingsError, match="unknown loss 'exat'"):
        loss_config_from_dict({"name": "exat"})


OLD = {
    "temperature": 0.2,
    "negatives": 99,
    "shared": True,
    "exclude_positive": False,
    "corrected": True,
    "z": "ema",
    "z_batches": 3,
    "z_momentum": 0.5,
    "proximal": 2.0,
}


@pytest.mark.parametrize("name", ["exact", "nce", "infonce", "parametric"])
def test_settings_of_the_old_version_load_by_alias(name):
    config = loss_config_from_dict({"name": name, **OLD})
    assert config.name == name and config.temperature == 0.2 and config.proximal == 2.0
    assert getattr(config, "negatives", 99) == 99
    assert getattr(config, "rescale_negatives", True) is True
    assert loss_config_from_dict(loss_config_to_dict(config)) == config


def test_a_setting_that_no_version_had_is_named():
    with pytest.raises(SettingsError, match="settings of another version: colour are unknown here"):
        loss_config_from_dict({"name": "nce", "negatives": 3, "colour": "blue"})


def test_the_settings_say_which_loss_is_built():
    assert isinstance(build(InfoNCEConfig(), N, D), LOSSES["infonce"])


def test_the_proximal_term_is_added_to_any_loss(setup):
    v, index, bank = setup
    plain = build(LOSSES["exact"].Config(), N, D)(v, index, bank, torch.Generator())
    pulled = build(LOSSES["exact"].Config(proximal=3.0), N, D)(v, index, bank, torch.Generator())
    torch.testing.assert_close(pulled, plain + 3 * proximal(v, bank[index]))
