"""What every registered loss must do."""

import dataclasses

import pytest
import torch
from torch import Generator
from torch.nn.functional import normalize

from pretrain.losses import (
    LOSSES,
    Loss,
    LossConfig,
    LossCost,
    build,
    loss_config_from_dict,
    loss_config_to_dict,
    loss_cost,
    proximal,
)
from pretrain.memory_bank import STORAGE_DTYPES, LocalBank
from pretrain.workload import Workload
from zoo import SettingsError

N, D, B = 30, 8, 5
# What makes a loss the same continuous function of its embeddings at every call but the first: Z is
# held, and no row becomes a negative by being farther than another.
STEADY = {"nce": {"z_batches": 1}, "triplet": {"semi_hard": False}}


def variants(name):
    """Settings of a loss: where it draws negatives, fewer, as many and more than there are rows."""
    config = LOSSES[name].Config(temperature=0.5, **STEADY.get(name, {}))
    if not hasattr(config, "negatives"):
        return [config]
    found = []
    for negatives in (N - 1, N, N + 1, 3 * N):
        for shared in (False, True):
            found.append(dataclasses.replace(config, negatives=negatives, shared=shared))
    return found


CASES = [
    pytest.param(config, id=f"{name}-{number}")
    for name in LOSSES
    for number, config in enumerate(variants(name))
]


def example():
    torch.manual_seed(0)
    embeddings = normalize(torch.randn(B, D))
    indices = torch.tensor([3, 0, N - 1, 7, 3])
    return embeddings, indices, torch.randn(N, D)


def steady(config):
    """The loss, and a function of the embeddings alone."""
    torch.manual_seed(1)
    loss = build(config, N, D)

    def compute(embeddings, indices, bank):
        return loss(embeddings, indices, bank, Generator().manual_seed(2))

    return loss, compute


@pytest.mark.parametrize("storage", [*STORAGE_DTYPES, "tensor"])
@pytest.mark.parametrize("config", CASES)
def test_it_gives_a_finite_loss_for_each_image_on_every_bank(config, storage):
    embeddings, indices, rows = example()
    bank = normalize(rows) if storage == "tensor" else LocalBank(rows, storage)
    _, compute = steady(config)
    embeddings.requires_grad_()
    losses = compute(embeddings, indices, bank)
    assert losses.shape == (B,) and losses.dtype == torch.float32
    (grad,) = torch.autograd.grad(losses.sum(), embeddings)
    assert torch.isfinite(losses).all() and torch.isfinite(grad).all()
    reference = steady(config)[1](embeddings, indices, normalize(rows))
    torch.testing.assert_close(losses, reference, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("config", CASES)
def test_its_gradient_is_that_of_finite_differences(config):
    embeddings, indices, rows = example()
    bank = normalize(rows)
    _, compute = steady(config)
    compute(embeddings, indices, bank)
    step = 1e-2
    weights = torch.arange(1.0, B + 1)
    u = embeddings.clone().requires_grad_()
    (grad,) = torch.autograd.grad((weights * compute(u, indices, bank)).sum(), u)
    for direction in normalize(torch.randn(4, B, D), dim=-1):
        ahead = compute(embeddings + step * direction, indices, bank).double()
        behind = compute(embeddings - step * direction, indices, bank).double()
        differences = (ahead - behind).detach() / (2 * step)
        slopes = weights * differences
        expected = (grad * direction).sum(1).double()
        torch.testing.assert_close(expected, slopes, rtol=2e-2, atol=2e-2 * slopes.abs().max())


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_proximal_term_is_added(name):
    embeddings, indices, rows = example()
    bank = normalize(rows)
    _, plain = steady(LOSSES[name].Config())
    _, pulled = steady(LOSSES[name].Config(proximal=3.0))
    expected = plain(embeddings, indices, bank) + 3 * proximal(embeddings, bank[indices])
    torch.testing.assert_close(pulled(embeddings, indices, bank), expected)


@pytest.mark.parametrize("config", CASES)
def test_its_settings_survive_a_file(config):
    assert loss_config_from_dict(loss_config_to_dict(config)) == config
    assert config.faults(2) == [] and type(config) is LOSSES[config.name].Config


@pytest.mark.parametrize("name", list(LOSSES))
def test_settings_out_of_range_are_named(name):
    with pytest.raises(SettingsError, match=r"loss\.temperature.*loss\.proximal.*2 images"):
        build(LOSSES[name].Config(temperature=0, proximal=-1), 1, D)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("storage", list(STORAGE_DTYPES))
@pytest.mark.parametrize("config", CASES)
def test_it_counts_what_it_costs(config, storage, device):
    sizes = {"num_rows": N, "batch_size": 8, "embed_dim": D, "bank_dtype": storage}
    config = dataclasses.replace(config, proximal=1.0)
    cost = loss_cost(config, Workload(num_devices=1, device=device, **sizes))
    assert cost.peak_bytes > 0 and cost.flops > 0 and cost.messages == []
    learned = sum(p.numel() for p in build(config, N, D).parameters())
    assert cost.num_parameters == learned
    shared_out = Workload(num_devices=4, device=device, **sizes)
    if LOSSES[config.name].supports_distributed:
        messages = loss_cost(config, shared_out).messages
        assert messages and all(message.num_bytes > 0 for message in messages)
    else:
        with pytest.raises(SettingsError, match=f"loss {config.name} works in one process only"):
            loss_cost(config, shared_out)


def test_a_loss_without_settings_or_cost_is_refused():
    class Bare(Loss[LossConfig]):
        def forward(self, embeddings, indices, bank, generator):
            return embeddings.sum(1)

    with pytest.raises(TypeError, match="loss 'bare': Bare lacks .*Config.* and the method cost"):
        LOSSES.register("bare")(Bare)

    class Borrowed(Bare):
        Config = LOSSES["exact"].Config

        @classmethod
        def cost(cls, config, workload):
            return LossCost(peak_bytes=1, flops=1)

    with pytest.raises(TypeError, match="Borrowed lacks a class attribute Config"):
        LOSSES.register("borrowed")(Borrowed)
    assert "bare" not in LOSSES and "borrowed" not in LOSSES


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="'exact' is already registered"):
        LOSSES.register("exact")
