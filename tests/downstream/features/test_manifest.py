import json

import pytest
import torch

from downstream.features.manifest import MANIFEST
from downstream.features.store import FeatureStore
from tests.stores import make_store
from zoo import DataError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.unlink(), "not found; a store is what `npid embed"),
        (lambda m: m.write_text("{"), "not the manifest of a store"),
        (lambda m: m.write_text("[]"), "not the manifest of a store"),
        (
            lambda m: m.write_text(m.read_text().replace('"format": 1', '"format": 2')),
            "another version",
        ),
        (
            lambda m: m.write_text(m.read_text().replace('"count": 10', '"count": 11')),
            "count is not right",
        ),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, change, message):
    make_store(tmp_path / "s", torch.eye(10))
    change(tmp_path / "s" / MANIFEST)
    with pytest.raises(DataError, match=message):
        FeatureStore.open(tmp_path / "s")


@pytest.mark.parametrize("value", [None, -1, 10**30, "x", [], 1.5, True])
@pytest.mark.parametrize("key", ["end", "keys_end"])
def test_a_block_whose_counts_are_none_is_refused(tmp_path, key, value):
    store = make_store(tmp_path / "s", torch.eye(4))
    content = json.loads((store.folder / MANIFEST).read_text())
    content["blocks"][0][key] = value
    (store.folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(DataError, match=MANIFEST):
        FeatureStore.open(store.folder).verify()


@pytest.mark.parametrize(("key", "value"), [("end", 1), ("end", 3), ("keys_end", 3)])
def test_blocks_that_end_before_the_one_before_them_are_refused(tmp_path, key, value):
    store = make_store(tmp_path / "s", torch.eye(4))  # in blocks of 3 rows and of 1
    content = json.loads((store.folder / MANIFEST).read_text())
    content["blocks"][1][key] = value
    content["count"] = content["blocks"][1]["end"]
    (store.folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(DataError, match="the one before it at"):
        FeatureStore.open(store.folder)
