import pytest
import torch
from torch.nn.functional import normalize

from downstream import nearest as near
from downstream.nearest import nearest


@pytest.mark.parametrize("k", [1, 5, 60, 150])
def test_the_nearest_are_those_of_a_sort(k, monkeypatch):
    monkeypatch.setattr(near, "_QUERIES", 7)
    monkeypatch.setattr(near, "_ROWS", 40)
    torch.manual_seed(0)
    bank, queries = normalize(torch.randn(150, 8)), normalize(torch.randn(20, 8))
    products, rows = nearest(bank, queries, k)
    expected = (queries @ bank.T).sort(1, descending=True)
    torch.testing.assert_close(products, expected.values[:, :k])
    assert torch.equal(rows, expected.indices[:, :k])


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("rows", "k"), [(3000, 7), (3001, 40), (3007, 3000), (2050, 7)])
def test_they_are_however_close_they_lie(rows, k, fast, monkeypatch):
    """In crowded banks bf16 cannot tell the rows apart: the fp32 order must still come out."""
    monkeypatch.setattr(near, "fast_bf16", lambda device: fast)
    monkeypatch.setattr(near, "_ROWS", 1024)
    monkeypatch.setattr(near, "_FEW", 1)
    torch.manual_seed(0)
    for spread in (1.0, 0.03, 1e-3):
        bank = normalize(torch.ones(rows, 16) + spread * torch.randn(rows, 16))
        queries = normalize(torch.ones(9, 16) + spread * torch.randn(9, 16))
        products, at = nearest(bank, queries, k)
        expected = (queries.double() @ bank.double().T).sort(1, descending=True).values[:, :k]
        assert (products - expected).abs().max() < 1e-6
        own = (queries.double()[:, None] * bank.double()[at]).sum(2)
        assert (own - expected).abs().max() < 1e-6
        assert all(len(set(some)) == k for some in at.tolist())
        half = nearest(bank.bfloat16(), queries, k)[0]
        expected = (
            (queries.double() @ bank.bfloat16().double().T).sort(1, descending=True).values[:, :k]
        )
        assert (half - expected).abs().max() < 1e-6


@pytest.mark.skipif(
    not near.fast_bf16(torch.device("cpu")), reason="screens on processors with bf16 alone"
)
def test_few_products_are_taken_twice(monkeypatch):
    """The screen leaves little more than the nearest; later blocks what may displace them."""
    counts, multiply = [], near._ScreenedBlock._multiply
    monkeypatch.setattr(
        near._ScreenedBlock, "_multiply", lambda *a: counts.append(len(a[-1])) or multiply(*a)
    )
    torch.manual_seed(0)
    nearest(normalize(torch.randn(150_000, 32)), normalize(torch.randn(70, 32)), 50)
    assert 70 * 50 <= counts[0] < 70 * 90 and counts[2] < counts[1] < counts[0]


def test_the_rounding_bound_holds_and_is_no_more_than_a_few_times_the_rounding():
    torch.manual_seed(0)
    for spread in (1.0, 0.1):
        bank = normalize(torch.ones(2000, 32) + spread * torch.randn(2000, 32))
        queries = normalize(torch.ones(50, 32) + spread * torch.randn(50, 32))
        rough, exact = (queries.bfloat16() @ bank.bfloat16().T).float(), queries @ bank.T
        least = torch.stack(
            [near._ScreenedBlock(bank, 50)._lower_bound(some, queries) for some in exact.T], 1
        )
        assert (least <= rough).all() and (exact - least).max() < 10 * (exact - rough).abs().max()
