"""What each kind of index costs and finds, on a million rows made by perturbing real features.

    python benchmarks/retrieval.py MODEL DATA --work DIR [--rows 1000000] [--noise 0.5]
        [--kinds binary ivf …]

Row i is the unit vector of f + noise·g: f the features of a random training image, g a random
unit vector. Queries are made in the same way and are not among the rows; or they are the features
of test images (the column "of test"): these lie further from every row, and the copies of an
image are all about as near, so that the exact ten are harder to tell. Times are of one query at a
time on one thread, the bare scan of the index and the whole search (with re-ranking from the map)
turn about. Accuracy is that of the vote of k = 200 of `npid knn`, on DATA itself, each kind
beside exact search. --work keeps the stores and indices for the next call."""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from timing import machine, memory

from downstream.features.manifest import ROWS, StoreManifest
from downstream.features.store_writer import open_writer
from downstream.retrieval import EmbedConfig, FeatureStore, embed, search
from downstream.retrieval.index import KINDS, Index, build_index, open_index, recall
from downstream.voting import class_votes

_BLOCK, _TIMED = 50_000, 100


def noisy(
    features: FeatureStore, count: int, noise: float, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors near those of random images, and which images."""
    numbers = torch.randint(len(features), (count,), generator=random)
    directions = F.normalize(torch.randn(count, features.dim, generator=random), dim=1)
    vectors = features.embeddings[numbers].float() + noise * directions
    return F.normalize(vectors, dim=1), numbers


def perturbed(features: FeatureStore, folder: Path, rows: int, noise: float) -> FeatureStore:
    """A store of noisy copies, made once."""
    random = torch.Generator().manual_seed(0)
    old = features.manifest
    new = StoreManifest(
        model=old.model,
        model_sha256=old.model_sha256,
        input=old.input,
        dim=old.dim,
        dtype="float32",
    )
    with open_writer(folder, new) as writer:
        while (first := writer.manifest.count) < rows:
            count = min(_BLOCK, rows - first)
            vectors, numbers = noisy(features, count, noise, random)
            keys = [f"{first + i} of {number}" for i, number in enumerate(numbers.tolist())]
            writer.append(vectors, keys, [0] * count, np.full(count, -1))
    return FeatureStore.open(folder)


def milliseconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)


def timed(store: FeatureStore, index: Index, queries: torch.Tensor) -> tuple[float, float]:
    """Median milliseconds of the bare scan and of the search, one query at a time."""
    scans: list[float] = []
    searches: list[float] = []
    for query in queries.split(1):
        scans.append(milliseconds(partial(index.propose, query)))
        searches.append(milliseconds(partial(search, store, query, 10, index=index)))
    return statistics.median(scans[10:]), statistics.median(searches[10:])


def accuracy(train: FeatureStore, test: FeatureStore, index: Index | None = None) -> float:
    """Top-1 of the vote of 200 neighbours, %."""
    scores, rows = search(train, test.embeddings.float(), 200, index=index)
    labels = torch.from_numpy(train.labels.astype(np.int64))[rows]
    predicted = class_votes(scores, labels, 0.07, len(train.classes)).argmax(1)
    expected = torch.from_numpy(test.labels.astype(np.int64))
    return 100 * (predicted == expected).float().mean().item()


def touched(folder: str, kind: str, query: int) -> None:
    """Print how much of the map a first search brings in.

    To be called in a process of its own, with none of the rows in the page cache.
    """
    store = FeatureStore.open(folder)
    with open(store.folder / ROWS, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    vector = F.normalize(
        torch.randn(1, store.dim, generator=torch.Generator().manual_seed(query)), dim=1
    )
    before = memory()[0]
    index = open_index(store, kind)
    loaded = memory()[0] - before
    began = time.perf_counter()
    search(store, vector, 10, index=index)
    seconds = time.perf_counter() - began
    in_memory = resident(ROWS)
    whole = os.path.getsize(store.folder / ROWS) // 1024
    print(
        f"{kind}: the index takes {loaded / 1e6:.0f} MB; a first search re-ranks "
        f"{index.info.candidates} rows, and has {in_memory:,} KiB of the {whole:,} KiB of rows "
        "in memory "
        f"({1e3 * seconds:.0f} ms with a cold disk)"
    )


def resident(name: str) -> int:
    """KiB of this process's maps of a file that are in memory (Linux)."""
    total, inside = 0, False
    with open("/proc/self/smaps") as file:
        for line in file:
            first = line.split()[0]
            if "-" in first and not first.endswith(":"):
                inside = line.rstrip().endswith("/" + name)
            elif inside and first == "Rss:":
                total += int(line.split()[1])
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("data", nargs="?")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--touched", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.touched:
        return touched(options.model, options.touched, 0)
    folder = compare(
        options
    )  # its map of the rows is gone by now: what is mapped cannot leave the page cache
    for kind in options.kinds:
        command = [sys.executable, __file__, str(folder), "--touched", kind]
        subprocess.run(command, check=True)


def compare(options: argparse.Namespace) -> Path:
    """Builds, measures and prints; returns the folder of the rows."""
    import faiss

    print(machine("faiss-cpu"))
    train = embed(options.model, options.data, options.work / "train", EmbedConfig())
    test = embed(options.model, options.data, options.work / "test", EmbedConfig(split="test"))
    folder = options.work / f"rows-{options.rows}-{options.noise}"
    store = perturbed(train, folder, options.rows, options.noise)
    queries, _ = noisy(train, 500, options.noise, torch.Generator().manual_seed(1))
    test_queries = test.embeddings[:: max(1, len(test) // 500)].float()
    began = time.perf_counter()
    truth = search(store, queries, 10)[1]
    exact = 1e3 * (time.perf_counter() - began) / len(queries)
    test_truth = search(store, test_queries, 10)[1]
    print(
        f"{len(store):,} rows, noise {options.noise}; "
        f"exact search {exact:.1f} ms a query, {len(queries)} at once\n"
    )
    print(
        "| kind | index | MB per million | candidates, probes "
        "| recall@10 bare | re-ranked | of test | scan, ms | search, ms |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for kind in options.kinds:
        if kind not in [path.name for path in (store.folder / "index").glob("*")]:
            build_index(store, kind)
        index = open_index(store, kind)
        info = index.info
        bare = recall(index.propose(queries)[1][:, :10], truth)
        reranked = recall(search(store, queries, 10, index=index)[1], truth)
        of_test = recall(search(store, test_queries, 10, index=index)[1], test_truth)
        faiss.omp_set_num_threads(1)
        scan, whole = timed(store, index, queries[:_TIMED])
        faiss.omp_set_num_threads(torch.get_num_threads())
        print(
            f"| {kind} | {info.factory} | {info.bytes_per_million / 1e6:.1f} "
            f"| {info.candidates}, {info.probes} | {bare:.3f} "
            f"| {reranked:.3f} | {of_test:.3f} | {scan:.2f} | {whole:.2f} |",
            flush=True,
        )
    print(f"\n{options.data}: vote of 200, top-1 exact {accuracy(train, test):.2f} %", end="")
    for kind in options.kinds:
        build_index(train, kind)
        print(
            f", {kind} {accuracy(train, test, open_index(train, kind)):.2f} %", end="", flush=True
        )
    print("\n")
    return store.folder


if __name__ == "__main__":
    main()
