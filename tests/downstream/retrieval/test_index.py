"""Indices against exact search, and the memory that a search touches."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import normalize

from downstream.features.manifest import ROWS
from downstream.retrieval import FeatureStore, search
from downstream.retrieval.index import (
    INDEX,
    KINDS,
    _num_lists,
    build_index,
    existing_indices,
    open_index,
    recall,
)
from tests.stores import make_store
from zoo import DataError, SettingsError

faiss = pytest.importorskip("faiss")


def clustered(rows, dim=64, clusters=100, seed=0):
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, dim, generator=random)
    spread = torch.randn(rows, dim, generator=random)
    return normalize(centres[torch.randint(clusters, (rows,), generator=random)] + 0.7 * spread)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("i") / "s", clustered(4000))


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_finds_the_exact_neighbours_and_says_how_well(store, kind):
    info = build_index(store, kind)
    queries = clustered(200, seed=0)[:64] + 0.02
    truth = (queries.double() @ store.embeddings.double().T).topk(10).indices
    index = open_index(store, kind)
    scores, rows = search(store, queries, 10, index=index)
    found = recall(rows, truth)
    assert found >= 0.95 and info.recall >= 0.95 and abs(found - info.recall) < 0.05
    exact = (queries[:, None] * store.embeddings[rows]).sum(2)
    torch.testing.assert_close(scores, exact)
    assert (scores.diff(dim=1) <= 0).all()
    plain = search(store, queries, 10, index=index, reranked=False)
    assert (
        abs(recall(plain[1], truth) - info.recall_without) < 0.1
        and recall(plain[1], truth) <= found
    )
    assert (
        kind in existing_indices(store)
        and (store.folder / "index" / kind / INDEX).stat().st_size > 0
    )
    size = {"flat": 256, "sq8": 64, "binary": 16, "ivf": 16 + 8, "hnsw": 64 + 100}[
        kind
    ]  # bytes a row, without tables
    assert size <= info.bytes_per_million / 1e6 <= 1.6 * size + 25


def test_more_neighbours_than_were_measured_and_more_than_an_index_finds(store):
    build_index(store, "ivf")
    index = open_index(store, "ivf")
    scores, rows = search(store, store.embeddings[:3], 300, index=index)
    assert rows.shape == (3, 300) and (rows[:, 0] == torch.arange(3)).all()
    index.info = type(index.info)(**{**vars(index.info), "probes": 1})
    scores, rows = search(store, store.embeddings[:3], 1000, index=index)
    assert (
        (rows[:, -1] == -1).all()
        and torch.isneginf(scores[rows < 0]).all()
        and (rows[:, 0] == torch.arange(3)).all()
    )


def test_an_index_of_other_rows_another_model_or_altered_is_refused(tmp_path, store):
    vectors = clustered(1000)
    mine = make_store(tmp_path / "mine", vectors)
    with pytest.raises(
        DataError, match=r"no such index \(there is none\); `npid index .* --kind sq8` builds it"
    ):
        open_index(mine, "sq8")
    build_index(mine, "sq8")
    for changed, sha, message in (
        (vectors.flip(0), "0" * 64, "built from other rows"),
        (torch.cat([vectors, vectors]), "0" * 64, r"\(1,000 then, 2,000 now\)"),
        (vectors, "1" * 64, "features of another model"),
    ):
        other = make_store(tmp_path / message[:6].strip("\\("), changed, model_sha256=sha)
        os.symlink(mine.folder / "index", other.folder / "index")
        with pytest.raises(DataError, match=message):
            open_index(other, "sq8")
    path = mine.folder / "index" / "sq8" / INDEX
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="altered since it was built"):
        open_index(mine, "sq8")
    (path.parent / "index.json").write_text("{}")
    with pytest.raises(DataError, match=r"index\.json: cannot be read"):
        open_index(mine, "sq8")


def test_what_no_index_can_be_built_of_is_said(tmp_path, store):
    with pytest.raises(SettingsError, match="unknown kind of index 'ivg'"):
        build_index(store, "ivg")
    with pytest.raises(SettingsError, match="10 rows; an index needs 1000"):
        build_index(make_store(tmp_path / "small", torch.eye(10)), "flat")
    with pytest.raises(SettingsError, match="even number of dimensions, got 7"):
        build_index(make_store(tmp_path / "odd", clustered(1000, dim=7)), "ivf")


def test_without_faiss_the_message_says_how_to_get_it_and_exact_search_works(
    tmp_path, store, monkeypatch
):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        SettingsError, match=r"pip install 'npid-zoo\[index\]'; exact search needs neither"
    ):
        build_index(store, "flat")
    assert search(store, store.embeddings[:2], 1)[1].tolist() == [[0], [1]]


def test_bits_of_the_smallest_store_are_measured_with_the_candidates_that_there_are(tmp_path):
    assert build_index(make_store(tmp_path / "s", clustered(1000)), "binary").candidates == 999


def test_lists_grow_with_the_rows_and_have_enough_to_be_trained_on():
    assert [_num_lists(n) for n in (1000, 50_000, 1_000_000, 10**9)] == [16, 512, 2048, 2048]


FIRST = """
import os, sys
sys.path.insert(0, "benchmarks")
from downstream.retrieval import FeatureStore, search
from downstream.retrieval.index import open_index
from downstream.features.manifest import ROWS
from retrieval import resident
store = FeatureStore.open(sys.argv[1])
with open(store.folder / ROWS, "rb") as file:
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
index = open_index(store, "binary")
query = store.take([0])[:1]
search(store, query, 10, index=index, num_candidates=20)
print(resident(ROWS))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs Linux's /proc")
def test_a_first_search_reads_only_the_rows_that_it_re_ranks(tmp_path):
    store = make_store(tmp_path / "s", clustered(20_000))
    build_index(store, "binary")
    del store
    out = subprocess.run(
        [sys.executable, "-c", FIRST, tmp_path / "s"], capture_output=True, text=True, check=True
    )
    whole = (tmp_path / "s" / ROWS).stat().st_size // 1024
    assert 0 < int(out.stdout) <= 21 * 4 * 2 < whole / 20  # a row may lie across two pages
    assert FeatureStore.open(tmp_path / "s").digest
