import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from downstream.features.extract import embeddings
from downstream.features.manifest import KEYS, RECORD, RECORDS
from downstream.features.store_writer import open_writer
from downstream.retrieval import EmbedConfig, FeatureStore, embed
from downstream.retrieval.images import StoredImages
from zoo import DataError, SettingsError
from zoo.data.sources import open_source

module = sys.modules["downstream.retrieval.embed"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_store_holds_what_embeddings_gives(tmp_path, model, dtype, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 100)
    store = embed(
        model, "digits", tmp_path / "s", EmbedConfig(split="test", dtype=dtype, batch_size=64)
    )
    source = open_source("digits", "test")
    vectors, _ = embeddings(zoo.load(model), source, batch_size=64)
    assert torch.equal(store.embeddings, vectors.to(getattr(torch, dtype)))
    assert torch.equal(store.take(np.array([7, 3, 7])), store.embeddings[[7, 3, 7]].float())
    assert store.labels.tolist() == source.labels.tolist() and store.classes == source.classes
    assert (
        list(store.keys) == [source.key(i) for i in range(360)]
        and store.keys.find(source.key(201)) == 201
    )
    assert store.keys.find("test/00020") is None and store.keys.find("") is None
    assert np.array_equal(np.asarray(StoredImages(store).image(9)), source.images[9])
    assert len(store.manifest.blocks) == 3 and not store.verify()


def test_a_grown_folder_and_another_data_set_are_appended(tmp_path, model, image_folder, picture):
    out, data = tmp_path / "s", str(image_folder)
    embed(model, data, out, EmbedConfig())
    before = FeatureStore.open(out).embeddings.clone()
    calls = []
    embed(model, data, out, EmbedConfig(), calls.append)
    assert calls == [12] and len(FeatureStore.open(out)) == 12  # nothing was done again
    picture(
        image_folder / "train" / "ant" / "0.png", seed=77
    )  # a class that moves the numbers of the others
    picture(image_folder / "train" / "cat" / "00.png", seed=78)
    store = embed(model, data, out, EmbedConfig())
    assert torch.equal(store.embeddings[:12], before)
    assert store.keys[12:] == ["ant/0.png", "cat/00.png"] and store.classes == ["cat", "dog", "ant"]
    assert store.labels.tolist() == [0] * 6 + [1] * 6 + [2, 0]
    store = embed(model, "digits", out, EmbedConfig(split="test"))
    assert len(store) == 374 and store.part(373).data == "digits" and store.part(13).data == data
    assert store.classes[store.labels[14]] == str(open_source("digits", "test").labels[0])
    want, _ = embeddings(zoo.load(model), open_source(data))
    order = [store.keys.find(open_source(data).key(i)) for i in range(14)]
    torch.testing.assert_close(store.embeddings[order], want, atol=1e-5, rtol=0)
    assert StoredImages(store).image(12).size == (16, 16) and not store.verify()


def test_images_that_changed_or_went_are_refused_and_named(tmp_path, model, image_folder, picture):
    embed(model, str(image_folder), tmp_path / "s", EmbedConfig())
    picture(image_folder / "train" / "cat" / "3.png", side=17)
    with pytest.raises(DataError, match=r"1 images in .* are changed .* as cat/3\.png"):
        embed(model, str(image_folder), tmp_path / "s", EmbedConfig())
    (image_folder / "train" / "cat" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 images in .* are gone .* as cat/3\.png"):
        embed(model, str(image_folder), tmp_path / "s", EmbedConfig())
    assert len(FeatureStore.open(tmp_path / "s")) == 12


@pytest.fixture
def bitmaps(tmp_path):
    """A folder of files whose size does not depend on their pixels, and what changes them."""

    def write(first_value):
        folder = tmp_path / "bitmaps"
        folder.mkdir(exist_ok=True)
        for number in range(3):
            image = Image.new("RGB", (16, 16), (first_value + number, 0, 0))
            image.save(folder / f"{number}.bmp")
        return folder

    return write


def test_other_pixels_in_files_of_the_same_size_are_refused_and_a_copy_is_not(
    tmp_path, model, bitmaps
):
    folder = bitmaps(10)
    before = embed(model, str(folder), tmp_path / "s").embeddings.clone()
    shutil.copytree(folder, tmp_path / "copy")  # other times, the same bytes
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    assert torch.equal(embed(model, str(folder), tmp_path / "s").embeddings, before)
    times = (folder / "0.bmp").stat()
    bitmaps(100)
    os.utime(folder / "0.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DataError, match=r"3 images in .* are changed .* as 0\.bmp"):
        embed(model, str(folder), tmp_path / "s")


def test_a_store_of_an_older_version_is_gone_on_with(tmp_path, model, bitmaps, picture):
    folder = bitmaps(10)
    store = embed(model, str(folder), tmp_path / "s")
    manifest = json.loads((store.folder / "manifest.json").read_text())
    del manifest["parts"][0]["fingerprints"]
    records = np.fromfile(store.folder / RECORDS, RECORD)
    size = str((folder / "0.bmp").stat().st_size).encode()
    records["fingerprint"] = zlib.crc32(size)  # all that it knew of an image
    records.tofile(store.folder / RECORDS)
    manifest["blocks"][0]["records"] = hashlib.sha256(records.tobytes()).hexdigest()
    (store.folder / "manifest.json").write_text(json.dumps(manifest))
    picture(folder / "new.png")
    store = embed(model, str(folder), tmp_path / "s")
    assert list(store.keys) == ["0.bmp", "1.bmp", "2.bmp", "new.png"] and not store.verify()
    assert [part.fingerprints for part in store.manifest.parts] == ["size", "content"]
    assert len(embed(model, str(folder), tmp_path / "s")) == 4
    picture(folder / "new.png", seed=5)
    with pytest.raises(DataError, match=r"1 images in .* are changed .* as new\.png"):
        embed(model, str(folder), tmp_path / "s")


def test_images_without_a_label_have_none_in_the_store(tmp_path, model, image_folder, picture):
    picture(image_folder / "train" / "montage.png")
    store = embed(model, str(image_folder), tmp_path / "s")
    assert store.labels.tolist() == [0] * 6 + [1] * 6 + [-1]


def test_bad_images_are_left_out_when_asked_and_tried_again_when_replaced(
    tmp_path, model, image_folder, picture
):
    bad = image_folder / "train" / "cat" / "3.png"
    bad.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.3\.png"):
        embed(model, str(image_folder), tmp_path / "s", EmbedConfig())
    store = embed(model, str(image_folder), tmp_path / "s", EmbedConfig(skip_bad=True))
    assert (
        len(store) == 11
        and store.keys.find("cat/3.png") is None
        and list(store.manifest.parts[0].bad) == ["cat/3.png"]
    )
    assert len(embed(model, str(image_folder), tmp_path / "s", EmbedConfig(skip_bad=True))) == 11
    picture(bad)
    assert embed(model, str(image_folder), tmp_path / "s", EmbedConfig()).keys[11] == "cat/3.png"


def test_another_model_another_type_and_another_writer_are_refused(tmp_path, model):
    out = tmp_path / "s"
    embed(model, "digits", out, EmbedConfig(split="test"))
    with pytest.raises(DataError, match="holds features of dtype float32, not bfloat16"):
        embed(model, "digits", out, EmbedConfig(dtype="bfloat16"))
    other = zoo.save(
        zoo.create("resnet10", embed_dim=16, input=zoo.load(model).input).eval(), tmp_path / "other"
    )
    with pytest.raises(DataError, match="holds features of model_sha256"):
        embed(other, "digits", out, EmbedConfig())
    with (
        open_writer(out, FeatureStore.open(out).manifest),
        pytest.raises(DataError, match="another process embeds here"),
    ):
        embed(model, "digits", out, EmbedConfig())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(zoo.NpidError, match=r"holds thesis\.txt and no store"):
        embed(model, "digits", tmp_path / "full", EmbedConfig())
    with pytest.raises(SettingsError, match="dtype must be float32 or bfloat16"):
        embed(model, "digits", tmp_path / "new", EmbedConfig(dtype="int8"))
    assert len(FeatureStore.open(out)) == 360 and os.listdir(tmp_path / "full") == ["thesis.txt"]


KILLED = """
import os
import signal
import sys

from downstream.features.committed_files import CommittedFiles
from downstream.retrieval import EmbedConfig, embed

sys.modules["downstream.retrieval.embed"]._BLOCK = 64
model, out, writes_left = sys.argv[1], sys.argv[2], int(sys.argv[3])
whole_write = CommittedFiles.write


def dying_write(files, name, offset, content):
    global writes_left
    writes_left -= 1
    if writes_left < 0:
        whole_write(files, name, offset, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    whole_write(files, name, offset, content)


CommittedFiles.write = dying_write
embed(model, "digits", out, EmbedConfig(split="test", batch_size=32))
"""


@pytest.mark.parametrize("writes", [2, 4])  # killed within the first block, and within the second
def test_a_killed_embed_keeps_its_blocks_and_goes_on(tmp_path, model, writes):
    out = tmp_path / "s"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, model, out, str(writes)], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = FeatureStore.open(out)
    assert len(kept) == 64 * (writes // 3) and not kept.verify()
    assert (out / KEYS).stat().st_size > kept.manifest.sizes[KEYS] or writes == 4
    calls = []
    store = embed(model, "digits", out, EmbedConfig(split="test", batch_size=32), calls.append)
    assert sum(calls) == 360 and (calls[0] == 64 or writes == 2)
    vectors, _ = embeddings(zoo.load(model), open_source("digits", "test"), batch_size=32)
    torch.testing.assert_close(store.embeddings, vectors, atol=1e-5, rtol=0)
    assert [store.keys[i] for i in range(360)] == [
        f"test/{i:06d}" for i in range(360)
    ] and not store.verify()
