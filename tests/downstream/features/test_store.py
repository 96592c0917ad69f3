import pytest
import torch
from torch.nn.functional import normalize

from downstream.features.manifest import KEYS, RECORDS, ROWS
from downstream.features.store import FeatureStore
from tests.stores import make_store
from zoo import DataError


@pytest.mark.parametrize("name", [ROWS, KEYS, RECORDS])
def test_truncated_and_altered_files_are_found(tmp_path, name):
    store = make_store(tmp_path / "s", normalize(torch.randn(100, 8)))
    path = tmp_path / "s" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=rf"{name}: truncated: .* bytes of"):
        FeatureStore.open(tmp_path / "s")
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    path.write_bytes(flipped)
    assert store.verify() == [f"{path}: altered within rows 51–99"]
    path.write_bytes(whole + b"what a crash left")
    assert not FeatureStore.open(tmp_path / "s").verify()
