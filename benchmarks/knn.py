"""The k nearest rows beside faiss's flat index and scikit-learn's brute force, on the same threads.

    python benchmarks/knn.py [--rounds 5] [--sizes 50000 1280000] [--queries 10000 2000]

k = 200, D = 128, random unit vectors in fp32. scikit-learn is given a tenth of the queries and its
time is multiplied, for it takes long. Also counts the neighbours that differ from faiss's, and the
memory that a search adds.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from timing import Cases, interleaved, machine, memory, report

from downstream.nearest import nearest

K = 200
D = 128


def unit(*shape: int) -> torch.Tensor:
    """Random unit vectors."""
    return F.normalize(torch.randn(shape), dim=-1)


def at_size(size: int, count: int, rounds: int) -> None:
    """Time and compare one number of rows and of queries."""
    import faiss
    from sklearn.neighbors import NearestNeighbors

    torch.manual_seed(0)
    rows = unit(size, D)
    queries = unit(count, D)
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(D)
    index.add(rows.numpy())
    cases: Cases = {
        "faiss": lambda: index.search(queries.numpy(), K),
        "ours": lambda: nearest(rows, queries, K),
    }
    times = interleaved(cases, rounds)
    brute = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine").fit(rows.numpy())
    began = time.perf_counter()
    brute.kneighbors(queries[: count // 10].numpy())
    times["scikit-learn (from a tenth)"] = [10 * (time.perf_counter() - began)] * rounds
    report(f"{count:,} queries on {size:,} rows, k = {K}", times, "faiss")
    products, numbers = nearest(rows, queries[:1000], K)
    faiss_products, faiss_numbers = index.search(queries[:1000].numpy(), K)
    pairs = zip(numbers.tolist(), faiss_numbers.tolist(), strict=True)
    same = [set(ours) == set(theirs) for ours, theirs in pairs]
    far = (products - torch.from_numpy(faiss_products)).abs().max()
    print(
        f"{sum(same)} of {len(same)} queries have faiss's neighbours; "
        f"products differ by {far:.1e} at most"
    )
    brute_time = statistics.median(times["scikit-learn (from a tenth)"])
    print(f"scikit-learn by ours: {brute_time / min(times['ours']):.1f}")


def peak(size: int, count: int) -> None:
    """In a process of its own: bytes that one search adds to the peak."""
    rows = torch.empty(size, D)
    for block in rows.split(10_000):
        block.copy_(unit(len(block), D))
    queries = unit(count, D)
    nearest(rows[:5000], queries[:10], K)  # what torch itself needs once
    before, _ = memory()
    nearest(rows, queries, K)
    print(f"a search adds {(memory()[1] - before) / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 1_280_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[10_000, 2_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        return peak(*options.peak)
    print(machine("faiss-cpu", "scikit-learn"))
    for size, count in zip(options.sizes, options.queries, strict=True):
        at_size(size, count, options.rounds)
        subprocess.run([sys.executable, __file__, "--peak", str(size), str(count)], check=True)


if __name__ == "__main__":
    main()
