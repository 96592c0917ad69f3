"""Compact indices of a store (faiss), measured against exact search and saved beside the rows.

An index lies in ``index/KIND/`` of its store: ``index.faiss``, and ``index.json`` with the digest
of the rows it was built from, its size, its recall@10 and the search settings that the recall was
measured with.
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
from downstream.features.store import FeatureStore
from downstream.nearest import nearest
from downstream.retrieval.search import rerank
from zoo import DataError, SettingsError
from zoo.models.model_dir import sha256
from zoo.utils.aside import recover
from zoo.utils.files import new_folder
from zoo.utils.registry import Registry

INDEX = "index.faiss"
INFO = "index.json"
NEIGHBOURS = 10  # that recall counts
FEWEST = 1000  # rows; below, exact search takes no time
_GOOD_RECALL = 0.99  # after re-ranking
_TRAINING_ROWS = 100_000
_MEASURED_QUERIES = 256
_BLOCK = 65_536
_CANDIDATES_PER_NEIGHBOUR = 5  # at least, where more than NEIGHBOURS are requested


@dataclass(frozen=True, kw_only=True)
class IndexKind:
    """A way to build an index.

    Attributes:
        factory: faiss's description of the index, from D and N.
        metric: ``ip``, or ``bits`` for Hamming distances.
        num_candidates: how many to try for re-ranking, rising.
        probes: how many lists (or, in a graph, how wide a front) to try, rising; empty where all
            rows are compared.
    """

    factory: Callable[[int, int], str]
    metric: str = "ip"
    num_candidates: tuple[int, ...] = (NEIGHBOURS,)
    probes: tuple[int, ...] = ()


def _num_lists(count: int) -> int:
    """4√N lists as faiss's guidelines have it, a power of two, and 39 training rows for each."""
    wanted = int(math.log2(4 * math.sqrt(count)))
    trainable = int(math.log2(min(count, _TRAINING_ROWS) / 39))
    return 1 << max(0, min(wanted, trainable))


def _flat(dim: int, count: int) -> str:
    return "Flat"


def _sq8(dim: int, count: int) -> str:
    return "SQ8"


def _binary(dim: int, count: int) -> str:
    """128 bits: signs after a learned rotation (ITQ), or a random one of fewer dimensions."""
    return "ITQ128,LSH" if dim >= 128 else "LSH128r"


def _ivf(dim: int, count: int) -> str:
    return f"IVF{_num_lists(count)},PQ{dim // 2}x4fs"


def _hnsw(dim: int, count: int) -> str:
    return "HNSW16_SQ8"


KINDS: Registry[IndexKind] = Registry("kind of index")
KINDS.register("flat")(IndexKind(factory=_flat))
KINDS.register("sq8")(IndexKind(factory=_sq8, num_candidates=(20, 50, 100)))
KINDS.register("binary")(IndexKind(factory=_binary, metric="bits", num_candidates=(1000, 2000)))
KINDS.register("ivf")(
    IndexKind(factory=_ivf, num_candidates=(200, 500, 1000), probes=(8, 16, 32, 64, 128))
)
KINDS.register("hnsw")(
    IndexKind(factory=_hnsw, num_candidates=(20, 50, 100), probes=(32, 64, 128, 256))
)


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """How an index was built, and what it is worth; saved as ``index.json``.

    Attributes:
        kind: a name out of :data:`KINDS`.
        factory: faiss's description of the index.
        model_sha256: of the weights that the rows come from.
        digest: of the store that it was built from.
        rows: of the store then.
        sha256: of the index file.
        bytes_per_million: size of the index for a million images.
        candidates: what the search re-ranks by default: the least that reached a recall of 0.99,
            or the most tried.
        probes: lists that the search looks at by default; 0 where all rows are compared.
        recall: share of the exact 10 nearest that are found, after re-ranking.
        recall_without: the same before re-ranking.
        seconds: the build took.
        format: version of this file.
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


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Search settings and the recalls that they reach; see :class:`IndexInfo`."""

    candidates: int
    probes: int
    recall: float
    recall_without: float


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise SettingsError(
            "an index needs faiss: pip install 'npid-zoo[index]'; "
            "exact search needs neither an index nor faiss"
        ) from error
    return faiss


class Index:
    """A faiss index that belongs to a store.

    Attributes:
        faiss: the index.
        info: how it was built and what it is worth.
    """

    def __init__(self, index: Any, info: IndexInfo) -> None:
        """Hold an index that is loaded; :func:`open_index` loads and checks one.

        Args:
            index: of faiss.
            info: what was saved beside it.
        """
        self.faiss = index
        self.info = info

    def propose(
        self, queries: Tensor, num_candidates: int | None = None, top: int = NEIGHBOURS
    ) -> tuple[Tensor, Tensor]:
        """Guess the nearest rows.

        Args:
            queries: Q×D.
            num_candidates: how many to propose; by default as many as the measured recall needed.
            top: how many are kept in the end.

        Returns:
            Q×C scores (larger is nearer; for bits the negative distance) and row numbers, −1 where
            fewer were found.
        """
        if num_candidates is None:
            num_candidates = self.info.candidates
            if top > NEIGHBOURS:
                num_candidates = max(num_candidates, _CANDIDATES_PER_NEIGHBOUR * top)
        count = min(max(num_candidates, top), self.info.rows)
        return _search_index(self.faiss, self.info.kind, queries, count, self.info.probes)


def _search_index(
    index: Any, kind: str, queries: Tensor, count: int, probes: int
) -> tuple[Tensor, Tensor]:
    if kind == "hnsw":
        index.hnsw.efSearch = max(probes, count)
    elif probes:
        index.nprobe = probes
    scores, rows = index.search(queries.float().contiguous().numpy(), count)
    if KINDS[kind].metric == "bits":
        scores = -scores
    return torch.from_numpy(scores), torch.from_numpy(rows)


def build_index(
    store: FeatureStore, kind: str, *, seed: int = 0, on_progress: OnImages | None = None
) -> IndexInfo:
    """Build an index, measure it and save it beside the rows, in one step.

    Args:
        store: of unit vectors.
        kind: one of ``KINDS``.
        seed: of the sample that it is trained on and of the queries that it is measured with.
        on_progress: called with the number of rows at a time.

    Raises:
        SettingsError: without faiss, for an unknown kind, or for a store too small or a D that does
            not suit the kind.
        WriteError: if it cannot be saved; the old one stays.
    """
    began = time.monotonic()
    KINDS[kind]
    faiss = _import_faiss()
    if len(store) < FEWEST:
        raise SettingsError(
            f"{store.folder}: {len(store)} rows; an index needs {FEWEST}, "
            "and below that exact search takes no time"
        )
    if kind == "ivf" and store.dim % 2:
        raise SettingsError(
            f"{store.folder}: an ivf index needs an even number of dimensions, got {store.dim}"
        )
    random = np.random.default_rng(seed)
    factory = KINDS[kind].factory(store.dim, len(store))
    metric = faiss.METRIC_INNER_PRODUCT if KINDS[kind].metric == "ip" else faiss.METRIC_L2
    index = faiss.index_factory(store.dim, factory, metric)
    _fill(index, store, random, on_progress)
    measured = _measure(store, index, kind, random)
    with new_folder(_folder(store, kind), replace=True) as aside:
        path = aside / INDEX
        faiss.write_index(index, str(path))
        info = IndexInfo(
            kind=kind,
            factory=factory,
            model_sha256=store.manifest.model_sha256,
            digest=store.digest,
            rows=len(store),
            sha256=sha256(path),
            bytes_per_million=round(path.stat().st_size / len(store) * 1e6),
            seconds=round(time.monotonic() - began, 1),
            **asdict(measured),
        )
        (aside / INFO).write_text(json.dumps(asdict(info), indent=2) + "\n")
    return info


def _fill(
    index: Any, store: FeatureStore, random: np.random.Generator, on_progress: OnImages | None
) -> None:
    """Train the index on a sample of the rows if need be, and add all of them."""
    if not index.is_trained:
        sample_size = min(len(store), _TRAINING_ROWS)
        sample = random.choice(len(store), sample_size, replace=False)
        index.train(store.take(sample).numpy())
    for block in store.embeddings.split(_BLOCK):
        index.add(block.float().numpy())
        if on_progress is not None:
            on_progress(len(block))


def _measure(store: FeatureStore, index: Any, kind: str, random: np.random.Generator) -> _Measured:
    """Find the least probes and candidates that reach a recall of 0.99, or else the best recall.

    Rows of the store are the queries; a query does not count as its own neighbour.
    """
    own_rows = torch.from_numpy(random.choice(len(store), _MEASURED_QUERIES, replace=False))
    queries = store.take(own_rows.numpy())
    _, exact_rows = nearest(store.embeddings, queries, NEIGHBOURS + 1)
    truth = _without_own(exact_rows, own_rows)[:, :NEIGHBOURS]
    best: _Measured | None = None
    for probes, count in _search_settings(KINDS[kind], len(store)):
        _, proposed = _search_index(index, kind, queries, count + 1, probes)
        proposed = _without_own(proposed, own_rows)
        _, reranked = rerank(store, queries, proposed, NEIGHBOURS)
        reached = recall(reranked, truth)
        if best is None or reached > best.recall + 1e-3:
            best = _Measured(
                candidates=count,
                probes=probes,
                recall=round(reached, 4),
                recall_without=round(recall(proposed[:, :NEIGHBOURS], truth), 4),
            )
        if reached >= _GOOD_RECALL:
            break
    assert best is not None  # there is one setting at least
    return best


def _search_settings(kind: IndexKind, rows: int) -> Iterator[tuple[int, int]]:
    """Yield probes and numbers of candidates, from cheap to dear."""
    for probes in kind.probes or (0,):
        yield probes, min(kind.num_candidates[0], rows - 1)
        for count in kind.num_candidates[1:]:
            if count < rows:
                yield probes, count


def _without_own(rows: Tensor, own_rows: Tensor) -> Tensor:
    """Q×C without each query's own row, or else without the last: Q×(C−1)."""
    is_other = rows != own_rows[:, None]
    is_other[:, -1] &= ~is_other.all(1)
    return rows[is_other].view(len(rows), -1)


def recall(rows: Tensor, truth: Tensor) -> float:
    """Share of the true rows that are among those found.

    Args:
        rows: Q×C that were found.
        truth: Q×K.

    Returns:
        A number within 0 and 1.
    """
    return (truth[:, :, None] == rows[:, None, :]).any(2).float().mean().item()


def _folder(store: FeatureStore, kind: str) -> Path:
    return store.folder / "index" / kind


def existing_indices(store: FeatureStore) -> list[str]:
    """List the kinds of index that the store has, whether they belong to its rows or not."""
    paths = (store.folder / "index").glob(f"[!.]*/{INFO}")
    return sorted(path.parent.name for path in paths)


def open_index(store: FeatureStore, kind: str) -> Index:
    """Load an index of the store.

    Args:
        store: that it belongs to.
        kind: one of ``KINDS``.

    Raises:
        SettingsError: without faiss, or for an unknown kind.
        DataError: if there is no such index, it is damaged, or it belongs to other features or
            another model.
    """
    KINDS[kind]
    folder = _folder(store, kind)
    recover(folder)
    path = folder / INDEX
    again = f"build it again: npid index {store.folder} --kind {kind}"
    info = _read_info(store, kind)
    model_sha256 = store.manifest.model_sha256
    if info.model_sha256 != model_sha256:
        raise DataError(
            f"{folder}: belongs to features of another model (sha256 {info.model_sha256[:12]}…, "
            f"the rows are of {model_sha256[:12]}…); {again}"
        )
    if info.digest != store.digest:
        raise DataError(
            f"{folder}: built from other rows ({info.rows:,} then, {len(store):,} now); {again}"
        )
    faiss = _import_faiss()
    if not path.is_file() or sha256(path) != info.sha256:
        raise DataError(f"{path}: missing or altered since it was built; {again}")
    return Index(faiss.read_index(str(path)), info)


def _read_info(store: FeatureStore, kind: str) -> IndexInfo:
    folder = _folder(store, kind)
    try:
        info = IndexInfo(**json.loads((folder / INFO).read_text()))
        for number in (info.rows, info.candidates, info.probes):
            if type(number) is not int or number < 0:
                raise TypeError(f"{number!r} is no number of rows, candidates or probes")
        for text in (info.kind, info.digest, info.model_sha256, info.sha256):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no checksum")
        return info
    except FileNotFoundError as error:
        existing = ", ".join(existing_indices(store)) or "none"
        raise DataError(
            f"{folder}: no such index (there is {existing}); "
            f"`npid index {store.folder} --kind {kind}` builds it"
        ) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{folder / INFO}: cannot be read ({error}); build the index again"
        ) from error
