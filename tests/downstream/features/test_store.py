import hashlib
import json
import struct

import pytest
import torch
from torch.nn.functional import normalize

from downstream.features.manifest import KEYS, MANIFEST, RECORDS, ROWS
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


def test_a_store_of_format_1_opens_whatever_its_fields_are_called_here(tmp_path):
    """The bytes of one row and one unreadable image, as they have been written from the start."""
    row = struct.pack("<2f", 0.6, 0.8)
    key = "é.png".encode()
    record = struct.pack("<QiI", len(key), 0, 123)
    block = {"end": 1, "keys_end": len(key)}
    for name, content in (("rows", row), ("keys", key), ("records", record)):
        (tmp_path / f"{name}.bin").write_bytes(content)
        block[name] = hashlib.sha256(content).hexdigest()
    part = {"data": "/photos", "split": "train", "digest": "d", "first": 0, "bad": {"b.png": 7}}
    content = {"format": 1, "count": 1, "model": "m", "model_sha256": "0" * 64, "input": {}}
    content |= {"dim": 2, "dtype": "float32", "classes": ["cat"]}
    content |= {"parts": [part], "blocks": [block]}
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    store = FeatureStore.open(tmp_path)
    assert not store.verify() and store.keys[:] == ["é.png"] and store.class_name(0) == "cat"
    assert store.embeddings.tolist() == [pytest.approx([0.6, 0.8])]
    assert store.records["fingerprint"].tolist() == [123]
    assert store.data == "/photos" and store.part(0).bad == {"b.png": 7}
    assert json.loads(store.manifest.text()) == content
