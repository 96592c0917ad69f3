import torch

from pretrain.losses.parametric import parametric
from tests.pretrain.losses.example import TAU, B


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
