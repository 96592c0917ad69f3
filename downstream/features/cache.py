"""Rows per image and layer: in memory, or kept on disk as one .npy file for each layer."""

import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from downstream.features.committed_files import CommittedFiles
from zoo.data.sources.builtin import cache_folder
from zoo.utils.files import new_file

_MANIFEST = "manifest.json"
_COMMIT_EVERY = 2048  # images between two manifests: what an interruption can cost


class LayerRows(ABC):
    """The rows of some layers of one model on one split, filled from the first image on."""

    @abstractmethod
    def finished(self, layers: Iterable[str]) -> int:
        """Number of images, counted from the first, that have their rows in all these layers."""

    @abstractmethod
    def write(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Add the rows of some images, in order; rows that are there already are left alone.

        Args:
            start: the first image's index.
            rows: {layer: B×…}.

        Raises:
            WriteError: on a full disk, a missing permission and the like.
        """

    @abstractmethod
    def read(self, layer: str) -> np.ndarray:
        """All N×… rows of a layer that is complete."""


class LayersInMemory(LayerRows):
    """Rows that are gone with the process."""

    def __init__(self, count: int) -> None:
        """Hold nothing yet.

        Args:
            count: images in all.
        """
        self._count = count
        self._rows: dict[str, np.ndarray] = {}

    def finished(self, layers: Iterable[str]) -> int:
        """No image: nothing is there before it is computed."""
        return 0

    def write(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Add the rows of some images; see :meth:`LayerRows.write`."""
        for layer, batch in rows.items():
            if layer not in self._rows:
                self._rows[layer] = np.empty((self._count, *batch.shape[1:]), batch.dtype)
            self._rows[layer][start : start + len(batch)] = batch

    def read(self, layer: str) -> np.ndarray:
        """All N×… rows of a layer that is complete."""
        return self._rows[layer]


class LayerCache(LayerRows):
    """Rows in the cache folder; at most the last 2048 images are lost by a kill.

    A file is as long as it will be from its first row on (with a hole where the disk allows it),
    so that the manifest alone says which rows count, and any complete layer can be read with
    ``numpy.load``. A damaged file or manifest is made anew.

    Attributes:
        folder: where the files of this model, data and transform lie.
    """

    def __init__(self, key: Mapping[str, object], count: int) -> None:
        """Find what an earlier process left.

        Args:
            key: everything that the rows depend on, as plain values.
            count: images in all.
        """
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self.folder = cache_folder() / "features" / digest[:32]
        self._key = key
        self._count = count
        self._files = CommittedFiles(
            self.folder, _MANIFEST, "make room, or let NPID_CACHE name another folder"
        )
        self._committed = self._read_manifest()
        self._uncommitted = 0
        self._header_sizes: dict[str, int] = {}  # of the files that this process writes to

    def _read_manifest(self) -> dict[str, int]:
        """{layer: rows that count}; empty where there is no manifest, or a damaged one."""
        try:
            rows = json.loads((self.folder / _MANIFEST).read_text())["rows"]
            return {layer: count for layer, count in rows.items() if self._fits(layer)}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}

    def finished(self, layers: Iterable[str]) -> int:
        """Number of images, counted from the first, whose rows are safe in all these layers."""
        return min(self._committed.get(layer, 0) for layer in layers)

    def write(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Add the rows of some images; safe from a kill once 2048 images or all are written."""
        batch_size = len(next(iter(rows.values())))
        end = start + batch_size
        for layer, batch in rows.items():
            if self._committed.get(layer, 0) >= end:
                continue
            if layer not in self._header_sizes:
                self._header_sizes[layer] = self._allocate(layer, batch)
            offset = self._header_sizes[layer] + start * batch[0].nbytes
            self._files.write(self._path(layer).name, offset, np.ascontiguousarray(batch).data)
        self._uncommitted += batch_size
        if self._uncommitted >= _COMMIT_EVERY or end == self._count:
            self._commit(end)

    def _commit(self, end: int) -> None:
        """Let the rows before ``end`` count."""
        rows = dict(self._committed)
        for layer in self._header_sizes:
            rows[layer] = max(end, rows.get(layer, 0))
        manifest = json.dumps({"about": self._key, "rows": rows}, indent=1)
        self._files.commit(manifest + "\n")
        self._committed = rows
        self._uncommitted = 0

    def _allocate(self, layer: str, batch: np.ndarray) -> int:
        """Make the layer's file at its full length unless it is there; the bytes of its header."""
        header = _npy_header((self._count, *batch.shape[1:]), batch.dtype)
        size = len(header) + self._count * batch[0].nbytes
        path = self._path(layer)
        if not self._fits(layer) or path.stat().st_size != size:
            # put in place whole, for another process may have the old one mapped
            with new_file(path) as aside, open(aside, "wb") as file:
                file.write(header)
                file.truncate(size)
        return len(header)

    def _fits(self, layer: str) -> bool:
        """Whether the layer's file is there and as long as its header and the data set say."""
        try:
            return len(np.load(self._path(layer), mmap_mode="r")) == self._count
        except (OSError, ValueError, TypeError):
            return False

    def _path(self, layer: str) -> Path:
        return self.folder / f"{layer}.npy"

    def read(self, layer: str) -> np.ndarray:
        """All N×… rows of a layer, mapped from the file and not read into memory."""
        # copy on write, for torch wants arrays that could be written
        rows: np.ndarray = np.load(self._path(layer), mmap_mode="c")
        return rows


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    header = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()
