import pytest
import torch

from zoo.utils.sampled_products import sampled_products, weighted_row_sums


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_products_are_those_of_the_pairs(device):
    queries, rows = torch.randn(3, 5), torch.randn(7, 5)
    offsets = torch.tensor([0, 2, 2, 5])
    indices = torch.tensor([6, 0, 1, 1, 3])
    if device == "meta":  # the path of other devices: the shape at least
        arguments = [tensor.to("meta") for tensor in (queries, rows, offsets, indices)]
        assert sampled_products(*arguments).shape == (5,)
        return
    expected = [queries[0] @ rows[6], queries[0] @ rows[0]]
    expected += [queries[2] @ rows[i] for i in (1, 1, 3)]
    found = sampled_products(queries, rows, offsets, indices)
    torch.testing.assert_close(found, torch.stack(expected))


def test_sums_are_those_of_the_rows():
    weights, rows = torch.randn(2, 3), torch.randn(7, 5)
    indices = torch.tensor([[6, 0, 6], [1, 2, 3]])
    expected = torch.einsum("qm,qmd->qd", weights, rows[indices])
    torch.testing.assert_close(weighted_row_sums(weights, rows, indices), expected)
