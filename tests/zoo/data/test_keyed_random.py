import torch

from zoo.data.keyed_random import uniforms


def test_a_draw_is_a_function_of_seed_epoch_and_index():
    indices = torch.arange(100)
    draws = uniforms(3, 1, indices, 8)
    assert draws.shape == (100, 8) and draws.dtype == torch.float32
    assert torch.equal(uniforms(3, 1, indices[40:42], 8), draws[40:42])
    for other in (uniforms(4, 1, indices, 8), uniforms(3, 2, indices, 8)):
        assert (other == draws).float().mean() < 0.01


def test_draws_are_uniform_and_independent():
    draws = uniforms(0, 0, torch.arange(20_000), 4)
    assert draws.min() >= 0 and draws.max() < 1
    torch.testing.assert_close(draws.mean(0), torch.full((4,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(draws.var(0), torch.full((4,), 1 / 12), atol=0.003, rtol=0)
    off_diagonal = torch.corrcoef(draws.T) - torch.eye(4)
    assert off_diagonal.abs().max() < 0.03
