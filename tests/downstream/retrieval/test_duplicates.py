import pytest
import torch
from torch.nn.functional import normalize

from downstream.retrieval import duplicates as duplicates_module
from downstream.retrieval.duplicates import duplicate_groups
from tests.stores import make_store
from zoo import SettingsError


def test_duplicates_are_the_groups_of_a_graph_search(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates_module, "_BLOCK", 17)
    monkeypatch.setattr(duplicates_module, "_MAX_PAIRS", 20)
    torch.manual_seed(0)
    centres = normalize(torch.randn(40, 24))
    vectors = normalize(
        centres[torch.randint(40, (150,))]
        + 0.1 * normalize(torch.randn(150, 24)) * torch.rand(150, 1)
    )
    vectors[140:] = vectors[0]
    store = make_store(tmp_path / "s", vectors)
    for threshold in (0.9, 0.99, 1.0):
        alike = (vectors.double() @ vectors.double().T) >= threshold - 1e-6
        groups, seen = [], set()
        for i in range(150):
            if i not in seen:
                front, found = [i], {i}
                while front:
                    front = [
                        int(j)
                        for k in front
                        for j in alike[k].nonzero()
                        if int(j) not in found and not found.add(int(j))
                    ]
                seen |= found
                groups += [sorted(found)] if len(found) > 1 else []
        assert duplicate_groups(store, threshold) == sorted(groups, key=lambda g: (-len(g), g[0]))
    with pytest.raises(SettingsError, match="above 0 and at most 1"):
        duplicate_groups(store, 1.5)
