import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import zoo
from downstream.features.extract import embeddings
from downstream.features.store import KEYS, MANIFEST, RECORDS, ROWS, Manifest
from downstream.features.store_writer import writing
from downstream.retrieval import EmbedSettings, Store, embed, search
from downstream.retrieval.duplicates import duplicates
from downstream.retrieval.pictures import Pictures
from zoo import DataError, SettingsError
from zoo.data.sources import open_source

module = sys.modules["downstream.retrieval.embed"]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    torch.manual_seed(0)
    spec = zoo.InputSpec(size=16, crop_pct=1.0)
    return zoo.save(
        zoo.create("resnet10", embed_dim=16, input=spec).eval(),
        tmp_path_factory.mktemp("m") / "model",
    )


def make(folder, vectors, dtype="float32", model_sha256="0" * 64):
    """A store of given vectors, in two blocks."""
    fresh = Manifest(
        model="m", model_sha256=model_sha256, input={}, dim=vectors.shape[1], dtype=dtype
    )
    with writing(folder, fresh) as writer:
        for some in vectors.split(len(vectors) // 2 + 1):
            first = writer.manifest.count
            keys = [f"é/{first + i}" for i in range(len(some))]
            writer.append(some, keys, [0] * len(some), np.full(len(some), -1))
    return Store.open(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_store_holds_what_embeddings_gives(tmp_path, model, dtype, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 100)
    store = embed(
        model, "digits", tmp_path / "s", EmbedSettings(split="test", dtype=dtype, batch=64)
    )
    source = open_source("digits", "test")
    vectors, _ = embeddings(zoo.load(model), source, batch_size=64)
    assert torch.equal(store.vectors, vectors.to(getattr(torch, dtype)))
    assert torch.equal(store.take(np.array([7, 3, 7])), store.vectors[[7, 3, 7]].float())
    assert store.labels.tolist() == source.labels.tolist() and store.classes == source.classes
    assert (
        list(store.keys) == [source.key(i) for i in range(360)]
        and store.keys.find(source.key(201)) == 201
    )
    assert store.keys.find("test/00020") is None and store.keys.find("") is None
    assert np.array_equal(np.asarray(Pictures(store).image(9)), source.images[9])
    assert len(store.manifest.blocks) == 3 and not store.faults()


def test_search_is_that_of_brute_force(tmp_path):
    torch.manual_seed(0)
    vectors, queries = normalize(torch.randn(500, 12)), normalize(torch.randn(9, 12))
    scores, rows = search(make(tmp_path / "s", vectors), queries, 500)
    expected = (queries.double() @ vectors.double().T).sort(1, descending=True)
    torch.testing.assert_close(scores.double(), expected.values, atol=1e-6, rtol=0)
    assert torch.equal(rows, expected.indices)
    half = make(tmp_path / "half", vectors, "bfloat16")
    scores, rows = search(half, queries, 5)
    assert rows.shape == (9, 5) and (scores - expected.values[:, :5]).abs().max() < 0.02


def test_a_top_or_a_query_out_of_range_is_refused(tmp_path):
    store = make(tmp_path / "s", torch.eye(4))
    for top in (0, 5):
        with pytest.raises(SettingsError, match=f"between 1 and the 4 images of .*s, got {top}"):
            search(store, torch.eye(4), top)
    with pytest.raises(SettingsError, match="must be Q×4"):
        search(store, torch.eye(3), 1)


def test_a_grown_folder_and_another_data_set_are_appended(tmp_path, model, image_folder, picture):
    out, data = tmp_path / "s", str(image_folder)
    embed(model, data, out, EmbedSettings())
    before = Store.open(out).vectors.clone()
    calls = []
    embed(model, data, out, EmbedSettings(), calls.append)
    assert calls == [12] and len(Store.open(out)) == 12  # nothing was done again
    picture(
        image_folder / "train" / "ant" / "0.png", seed=77
    )  # a class that moves the numbers of the others
    picture(image_folder / "train" / "cat" / "00.png", seed=78)
    store = embed(model, data, out, EmbedSettings())
    assert torch.equal(store.vectors[:12], before)
    assert store.keys[12:] == ["ant/0.png", "cat/00.png"] and store.classes == ["cat", "dog", "ant"]
    assert store.labels.tolist() == [0] * 6 + [1] * 6 + [2, 0]
    store = embed(model, "digits", out, EmbedSettings(split="test"))
    assert len(store) == 374 and store.part(373).data == "digits" and store.part(13).data == data
    assert store.classes[store.labels[14]] == str(open_source("digits", "test").labels[0])
    want, _ = embeddings(zoo.load(model), open_source(data))
    order = [store.keys.find(open_source(data).key(i)) for i in range(14)]
    torch.testing.assert_close(store.vectors[order], want, atol=1e-5, rtol=0)
    assert Pictures(store).image(12).size == (16, 16) and not store.faults()


def test_images_that_changed_or_went_are_refused_and_named(tmp_path, model, image_folder, picture):
    embed(model, str(image_folder), tmp_path / "s", EmbedSettings())
    picture(image_folder / "train" / "cat" / "3.png", side=17)
    with pytest.raises(DataError, match=r"1 images in .* are changed .* as cat/3\.png"):
        embed(model, str(image_folder), tmp_path / "s", EmbedSettings())
    (image_folder / "train" / "cat" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 images in .* are gone .* as cat/3\.png"):
        embed(model, str(image_folder), tmp_path / "s", EmbedSettings())
    assert len(Store.open(tmp_path / "s")) == 12


def test_bad_images_are_left_out_when_asked_and_tried_again_when_replaced(
    tmp_path, model, image_folder, picture
):
    bad = image_folder / "train" / "cat" / "3.png"
    bad.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.3\.png"):
        embed(model, str(image_folder), tmp_path / "s", EmbedSettings())
    store = embed(model, str(image_folder), tmp_path / "s", EmbedSettings(skip_bad=True))
    assert (
        len(store) == 11
        and store.keys.find("cat/3.png") is None
        and list(store.manifest.parts[0].bad) == ["cat/3.png"]
    )
    assert len(embed(model, str(image_folder), tmp_path / "s", EmbedSettings(skip_bad=True))) == 11
    picture(bad)
    assert embed(model, str(image_folder), tmp_path / "s", EmbedSettings()).keys[11] == "cat/3.png"


def test_another_model_another_type_and_another_writer_are_refused(tmp_path, model):
    out = tmp_path / "s"
    embed(model, "digits", out, EmbedSettings(split="test"))
    with pytest.raises(DataError, match="holds features of dtype float32, not bfloat16"):
        embed(model, "digits", out, EmbedSettings(dtype="bfloat16"))
    other = zoo.save(
        zoo.create("resnet10", embed_dim=16, input=zoo.load(model).input).eval(), tmp_path / "other"
    )
    with pytest.raises(DataError, match="holds features of model_sha256"):
        embed(other, "digits", out, EmbedSettings())
    with (
        writing(out, Store.open(out).manifest),
        pytest.raises(DataError, match="another process embeds here"),
    ):
        embed(model, "digits", out, EmbedSettings())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(zoo.NpidError, match=r"holds thesis\.txt and no store"):
        embed(model, "digits", tmp_path / "full", EmbedSettings())
    with pytest.raises(SettingsError, match="dtype must be float32 or bfloat16"):
        embed(model, "digits", tmp_path / "new", EmbedSettings(dtype="int8"))
    assert len(Store.open(out)) == 360 and os.listdir(tmp_path / "full") == ["thesis.txt"]


KILLED = """
import sys, os, signal
from downstream import retrieval
module = sys.modules["downstream.retrieval.embed"]
module._BLOCK = 64
writer, left = sys.modules["downstream.features.store_writer"], [int(sys.argv[3])]
def dying(path, size, content, add=writer._add):
    left[0] -= 1
    if left[0] < 0:
        with open(path, "r+b") as file:
            file.seek(size)
            file.write(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    add(path, size, content)
writer._add = dying
retrieval.embed(sys.argv[1], "digits", sys.argv[2], retrieval.EmbedSettings(split="test", batch=32))
"""


@pytest.mark.parametrize("writes", [2, 4])  # killed within the first block, and within the second
def test_a_killed_embed_keeps_its_blocks_and_goes_on(tmp_path, model, writes):
    out = tmp_path / "s"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, model, out, str(writes)], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = Store.open(out)
    assert len(kept) == 64 * (writes // 3) and not kept.faults()
    assert (out / KEYS).stat().st_size > kept.manifest.sizes[KEYS] or writes == 4
    calls = []
    store = embed(model, "digits", out, EmbedSettings(split="test", batch=32), calls.append)
    assert sum(calls) == 360 and (calls[0] == 64 or writes == 2)
    vectors, _ = embeddings(zoo.load(model), open_source("digits", "test"), batch_size=32)
    torch.testing.assert_close(store.vectors, vectors, atol=1e-5, rtol=0)
    assert [store.keys[i] for i in range(360)] == [
        f"test/{i:06d}" for i in range(360)
    ] and not store.faults()


@pytest.mark.parametrize("name", [ROWS, KEYS, RECORDS])
def test_truncated_and_altered_files_are_found(tmp_path, name):
    store = make(tmp_path / "s", normalize(torch.randn(100, 8)))
    path = tmp_path / "s" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=rf"{name}: truncated: .* bytes of"):
        Store.open(tmp_path / "s")
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    path.write_bytes(flipped)
    assert store.faults() == [f"{path}: altered within rows 51–99"]
    path.write_bytes(whole + b"what a crash left")
    assert not Store.open(tmp_path / "s").faults()


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
    make(tmp_path / "s", torch.eye(10))
    change(tmp_path / "s" / MANIFEST)
    with pytest.raises(DataError, match=message):
        Store.open(tmp_path / "s")


def test_duplicates_are_the_groups_of_a_graph_search(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["downstream.retrieval.duplicates"], "_BLOCK", 17)
    monkeypatch.setattr(sys.modules["downstream.retrieval.duplicates"], "_EDGES", 20)
    torch.manual_seed(0)
    centres = normalize(torch.randn(40, 24))
    vectors = normalize(
        centres[torch.randint(40, (150,))]
        + 0.1 * normalize(torch.randn(150, 24)) * torch.rand(150, 1)
    )
    vectors[140:] = vectors[0]
    store = make(tmp_path / "s", vectors)
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
        assert duplicates(store, threshold) == sorted(groups, key=lambda g: (-len(g), g[0]))
    with pytest.raises(SettingsError, match="above 0 and at most 1"):
        duplicates(store, 1.5)
