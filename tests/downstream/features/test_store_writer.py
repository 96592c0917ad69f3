import numpy as np
import pytest
import torch

from downstream.features.manifest import KEYS, MANIFEST, RECORDS, ROWS, StoreManifest
from downstream.features.store import FeatureStore
from downstream.features.store_writer import open_writer
from tests.stores import make_store
from zoo import ModelError
from zoo.utils.files import WriteError

NEW = StoreManifest(model="m", model_sha256="0" * 64, input={}, dim=4, dtype="float32")
NO_LABELS = np.full(4, -1)


def test_what_a_crash_left_beyond_the_last_block_is_cut_off(tmp_path):
    store = make_store(tmp_path / "s", torch.eye(4))
    before = {name: (store.folder / name).read_bytes() for name in (ROWS, KEYS, RECORDS)}
    for name, content in before.items():
        (store.folder / name).write_bytes(content + b"half a block")
    with open_writer(store.folder, store.manifest):
        pass
    assert before == {name: (store.folder / name).read_bytes() for name in before}


def test_embeddings_that_are_not_finite_are_refused_and_the_blocks_before_stay(tmp_path):
    store = make_store(tmp_path / "s", torch.eye(4))
    with open_writer(store.folder, store.manifest) as writer:
        with pytest.raises(ModelError, match="not finite, as for a; not stored"):
            writer.append(torch.full((4, 4), torch.nan), list("abcd"), [0] * 4, NO_LABELS)
    again = FeatureStore.open(store.folder)
    assert len(again) == 4 and not again.verify()


def test_a_block_whose_manifest_cannot_be_written_is_not_counted(tmp_path, monkeypatch):
    store = make_store(tmp_path / "s", torch.eye(4))

    def full(_):
        raise OSError(28, "No space left on device")

    with open_writer(store.folder, store.manifest) as writer:
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(WriteError, match="No space left on device; the blocks before this"):
                writer.append(2 * torch.eye(4), list("abcd"), [0] * 4, NO_LABELS)
        assert writer.manifest.count == 4
        writer.append(3 * torch.eye(4), list("efgh"), [0] * 4, NO_LABELS)
    again = FeatureStore.open(store.folder)
    assert torch.equal(again.embeddings[4:], 3 * torch.eye(4)) and not again.verify()
    assert again.keys[4:] == list("efgh")


def test_a_first_manifest_that_a_crash_left_half_written_is_no_other_file(tmp_path):
    (tmp_path / f".{MANIFEST}.x1y2").write_text("{")
    with open_writer(tmp_path, NEW) as writer:
        writer.append(torch.eye(4), list("abcd"), [0] * 4, NO_LABELS)
    assert len(FeatureStore.open(tmp_path)) == 4
