"""The exact softmax against torch's own cross entropy over all rows."""

import torch
from torch.nn.functional import cross_entropy

from pretrain.losses import build
from pretrain.losses.exact import ExactConfig
from pretrain.workload import Workload
from tests.pretrain.losses.example import TAU, D, N, slope


def test_it_is_the_cross_entropy_of_the_image_among_all(setup):
    v, index, bank = setup
    loss = build(ExactConfig(temperature=TAU), N, D)(v, index, bank, torch.Generator())
    logits = v.double() @ bank.double().T / TAU
    expected = cross_entropy(logits, index, reduction="none")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope(loss, v), slope(expected, v), rtol=1e-4, atol=1e-5)


def test_it_costs_two_products_with_the_bank_and_draws_nothing(setup):
    v, index, bank = setup
    sizes = {"num_rows": N, "batch_size": 8, "embed_dim": D, "bank_dtype": "float32"}
    loss = build(ExactConfig(), N, D)
    assert loss.cost(loss.config, Workload(num_devices=1, **sizes)).flops == 2 * 2 * 8 * N * D
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    loss(v, index, bank, generator)
    assert torch.equal(generator.get_state(), before)
