import pytest
import torch

from pretrain.losses import LOSSES, build, loss_config_from_dict, loss_config_to_dict, proximal
from pretrain.losses.infonce import InfoNCEConfig
from pretrain.losses.nce import NCEConfig
from pretrain.memory_bank import LocalBank
from tests.pretrain.losses.example import B, D, N, slope
from zoo import SettingsError


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
