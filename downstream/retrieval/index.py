"""Compact indices of a store (faiss): built by blocks, measured against exact search, saved beside the rows.

An index lies in ``index/KIND/`` of its store: ``index.faiss``, and ``index.json`` with the digest of the rows it was
built from, its size, its recall@10 and the search settings that the recall was measured with.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from downstream.features.extract import OnImages
from downstream.features.store import Store
from downstream.nearest import nearest
from downstream.retrieval.search import rerank
from zoo import DataError, SettingsError
from zoo.models.model_dir import sha256
from zoo.utils.files import new_folder
from zoo.utils.registry import Registry

INDEX, ABOUT = "index.faiss", "index.json"
AT = 10  # neighbours that recall counts
FEWEST = 1000  # rows; below, exact search takes no time
_GOOD = 0.99  # recall after re-ranking that is enough
_SAMPLE, _QUERIES, _BLOCK = 100_000, 256, 65_536
_PER_NEIGHBOUR = 5  # candidates at least, where more than AT are asked for


@dataclass(frozen=True, kw_only=True)
class Kind:
    """
    Attributes:
        factory: faiss's description of the index, from D and N.
        metric: ``ip``, or ``bits`` for Hamming distances.
        candidates: how many to try for re-ranking, rising.
        probes: how many lists (or, in a graph, how wide a front) to try, rising; empty where all rows are compared.
    """

    factory: Callable[[int, int], str]
    metric: str = "ip"
    candidates: tuple[int, ...] = (AT,)
    probes: tuple[int, ...] = ()


def _lists(count: int) -> int:
    """4√N lists as faiss's guidelines have it, a power of two, and 39 training rows for each."""
    return 1 << max(
        0, min(int(math.log2(4 * math.sqrt(count))), int(math.log2(min(count, _SAMPLE) / 39)))
    )


def _bits(dim: int, count: int) -> str:
    """128 bits: the signs after a rotation that is learned (ITQ), or random where there are fewer dimensions."""
    return "ITQ128,LSH" if dim >= 128 else "LSH128r"


KINDS: Registry[Kind] = Registry("kind of index")
KINDS.register("flat")(Kind(factory=lambda dim, count: "Flat"))
KINDS.register("sq8")(Kind(factory=lambda dim, count: "SQ8", candidates=(20, 50, 100)))
KINDS.register("binary")(Kind(factory=_bits, metric="bits", candidates=(1000, 2000)))
KINDS.register("ivf")(
    Kind(
        factory=lambda dim, count: f"IVF{_lists(count)},PQ{dim // 2}x4fs",
        candidates=(200, 500, 1000),
        probes=(8, 16, 32, 64, 128),
    )
)
KINDS.register("hnsw")(
    Kind(
        factory=lambda dim, count: "HNSW16_SQ8", candidates=(20, 50, 100), probes=(32, 64, 128, 256)
    )
)


@dataclass(frozen=True, kw_only=True)
class About:
    """
    Attributes:
        kind, factory: of the index.
        model_sha256, digest, rows: of the store that it was built from.
        sha256: of the index file.
        bytes_per_million: images.
        candidates, probes: what the search uses by default: the least that reached a recall of 0.99, or the most tried.
        recall: share of the exact 10 nearest that are found, after re-ranking.
        recall_without: the same before re-ranking.
        seconds: the build took.
    """

    kind: str
    factory: str
    model_sha256: str
    digest: str
    rows: int
    sha256: str
    bytes_per_million: int
    candidates: int
    probes: int
    recall: float
    recall_without: float
    seconds: float
    format: int = 1


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise SettingsError(
            "an index needs faiss: pip install 'npid-zoo[index]'; exact search needs neither an index nor faiss"
        ) from error
    return faiss


class Index:
    """A faiss index that belongs to a store.

    Attributes:
        faiss: the index.
        about: how it was built and what it is worth.
    """

    def __init__(self, index: Any, about: About) -> None:
        self.faiss, self.about = index, about

    def candidates(
        self, queries: Tensor, count: int | None = None, top: int = AT
    ) -> tuple[Tensor, Tensor]:
        """Guess the nearest rows.

        Args:
            queries: Q×D.
            count: how many to propose; by default as many as the measured recall needed.
            top: how many are wanted in the end.

        Returns:
            Q×C scores (larger is nearer; for bits the negative distance) and row numbers, −1 where fewer were found.
        """
        if count is None:
            count = (
                self.about.candidates
                if top <= AT
                else max(self.about.candidates, _PER_NEIGHBOUR * top)
            )
        count = min(max(count, top), self.about.rows)
        return _propose(self.faiss, self.about.kind, queries, count, self.about.probes)


def _propose(
    index: Any, kind: str, queries: Tensor, count: int, probes: int
) -> tuple[Tensor, Tensor]:
    if probes:
        _set_probes(index, max(probes, count) if kind == "hnsw" else probes)
    scores, rows = index.search(queries.float().contiguous().numpy(), count)
    return torch.from_numpy(-scores if KINDS[kind].metric == "bits" else scores), torch.from_numpy(
        rows
    )


def _set_probes(index: Any, probes: int) -> None:
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = probes
    else:
        index.nprobe = probes


def build_index(
    store: Store, kind: str, *, seed: int = 0, progress: OnImages | None = None
) -> About:
    """Build an index, measure it and save it beside the rows, in one step.

    Args:
        store: of unit vectors.
        kind: one of ``KINDS``.
        seed: of the sample that it is trained on and of the queries that it is measured with.
        progress: is called with the number of rows at a time.

    Raises:
        SettingsError: without faiss, for an unknown kind, or for a store too small or a D that does not suit the kind.
        WriteError: if it cannot be saved; the old one stays.
    """
    began = time.monotonic()
    how, faiss = KINDS[kind], _faiss()
    if len(store) < FEWEST:
        raise SettingsError(
            f"{store.folder}: {len(store)} rows; an index needs {FEWEST}, and below that exact search takes no time"
        )
    if kind == "ivf" and store.dim % 2:
        raise SettingsError(
            f"{store.folder}: an ivf index needs an even number of dimensions, got {store.dim}"
        )
    random = np.random.default_rng(seed)
    spec = how.factory(store.dim, len(store))
    index = faiss.index_factory(
        store.dim, spec, faiss.METRIC_INNER_PRODUCT if how.metric == "ip" else faiss.METRIC_L2
    )
    if not index.is_trained:
        index.train(
            store.take(random.choice(len(store), min(len(store), _SAMPLE), replace=False)).numpy()
        )
    for start in range(0, len(store), _BLOCK):
        index.add(store.vectors[start : start + _BLOCK].float().numpy())
        if progress is not None:
            progress(min(_BLOCK, len(store) - start))
    found = _measure(store, index, kind, random)
    with new_folder(_folder(store, kind), replace=True) as aside:
        faiss.write_index(index, str(aside / INDEX))
        about = About(
            kind=kind,
            factory=spec,
            model_sha256=store.manifest.model_sha256,
            digest=store.digest,
            rows=len(store),
            sha256=sha256(aside / INDEX),
            bytes_per_million=round((aside / INDEX).stat().st_size / len(store) * 1e6),
            seconds=round(time.monotonic() - began, 1),
            **found,
        )
        (aside / ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n")
    return about


def _measure(store: Store, index: Any, kind: str, random: np.random.Generator) -> dict[str, Any]:
    """The least probes and candidates that reach a recall of 0.99, and the recalls, from rows of the store as queries;
    a query does not count as its own neighbour.
    """
    own = torch.from_numpy(random.choice(len(store), _QUERIES, replace=False))
    queries = store.take(own.numpy())
    truth = _without(nearest(store.vectors, queries, AT + 1)[1], own)[:, :AT]
    best: dict[str, Any] = {}
    for probes, count in _settings(KINDS[kind], len(store)):
        rows = _without(_propose(index, kind, queries, count + 1, probes)[1], own)
        after, before = (
            recall(rerank(store, queries, rows, AT)[1], truth),
            recall(rows[:, :AT], truth),
        )
        if not best or after > best["recall"] + 1e-3:
            best = {
                "probes": probes,
                "candidates": count,
                "recall": round(after, 4),
                "recall_without": round(before, 4),
            }
        if after >= _GOOD:
            break
    return best


def _settings(kind: Kind, rows: int) -> Iterator[tuple[int, int]]:
    """Probes and candidates, from cheap to dear."""
    for probes in kind.probes or (0,):
        yield from ((probes, count) for count in kind.candidates if count < rows)


def _without(rows: Tensor, own: Tensor) -> Tensor:
    """Q×C without each query's own row, or else without the last: Q×(C−1)."""
    other = rows != own[:, None]
    other[:, -1] &= ~other.all(1)
    return rows[other].view(len(rows), -1)


def recall(found: Tensor, truth: Tensor) -> float:
    """Share of the true rows (Q×K) that are among those found (Q×C)."""
    return (truth[:, :, None] == found[:, None, :]).any(2).float().mean().item()


def _folder(store: Store, kind: str) -> Path:
    return store.folder / "index" / kind


def indices(store: Store) -> list[str]:
    """The kinds of index that the store has, fit or not."""
    return sorted(path.parent.name for path in (store.folder / "index").glob(f"*/{ABOUT}"))


def open_index(store: Store, kind: str) -> Index:
    """Load an index of the store.

    Raises:
        SettingsError: without faiss, or for an unknown kind.
        DataError: if there is no such index, it is damaged, or it belongs to other features or another model.
    """
    KINDS[kind]
    folder = _folder(store, kind)
    try:
        about = About(**json.loads((folder / ABOUT).read_text()))
    except FileNotFoundError as error:
        there = ", ".join(indices(store)) or "none"
        raise DataError(
            f"{folder}: no such index (there is {there}); `npid index {store.folder} --kind {kind}` builds it"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{folder / ABOUT}: cannot be read ({error}); build the index again"
        ) from error
    again = f"build it again: npid index {store.folder} --kind {kind}"
    if about.model_sha256 != store.manifest.model_sha256:
        raise DataError(
            f"{folder}: belongs to features of another model (sha256 {about.model_sha256[:12]}…, the rows are of "
            f"{store.manifest.model_sha256[:12]}…); {again}"
        )
    if about.digest != store.digest:
        raise DataError(
            f"{folder}: built from other rows ({about.rows:,} then, {len(store):,} now); {again}"
        )
    path, faiss = folder / INDEX, _faiss()
    if not path.is_file() or sha256(path) != about.sha256:
        raise DataError(f"{path}: missing or altered since it was built; {again}")
    return Index(faiss.read_index(str(path)), about)
