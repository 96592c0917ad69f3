import pytest
import torch
from torch.nn.functional import normalize

from downstream.retrieval import search
from tests.stores import make_store
from zoo import SettingsError


def test_search_is_that_of_brute_force(tmp_path):
    torch.manual_seed(0)
    vectors, queries = normalize(torch.randn(500, 12)), normalize(torch.randn(9, 12))
    scores, rows = search(make_store(tmp_path / "s", vectors), queries, 500)
    expected = (queries.double() @ vectors.double().T).sort(1, descending=True)
    torch.testing.assert_close(scores.double(), expected.values, atol=1e-6, rtol=0)
    assert torch.equal(rows, expected.indices)
    half = make_store(tmp_path / "half", vectors, "bfloat16")
    scores, rows = search(half, queries, 5)
    assert rows.shape == (9, 5) and (scores - expected.values[:, :5]).abs().max() < 0.02


def test_a_top_or_a_query_out_of_range_is_refused(tmp_path):
    store = make_store(tmp_path / "s", torch.eye(4))
    for top in (0, 5):
        with pytest.raises(SettingsError, match=f"between 1 and the 4 images of .*s, got {top}"):
            search(store, torch.eye(4), top)
    with pytest.raises(SettingsError, match="must be Q×4"):
        search(store, torch.eye(3), 1)
