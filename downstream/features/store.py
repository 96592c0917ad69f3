"""The features of a collection of images on disk: memory-mapped rows with keys and labels.

A store is a folder of

    manifest.json   model, input, parts, and the checksums of each block; replaced after each block
    rows.bin        N×D, float32 or bfloat16, little-endian
    keys.bin        the images' keys, UTF-8, one after another
    records.bin     per row: where its key ends, its label (−1: none), the image's fingerprint

The three .bin files only grow. What lies beyond the manifest's last block is a block that a crash
cut off: it is not read, and the next writer cuts it off.
"""

import contextlib
import hashlib
import mmap
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from downstream.features.manifest import (
    KEYS,
    RECORD,
    RECORDS,
    ROW_DTYPES,
    ROWS,
    Part,
    StoreManifest,
    read_manifest,
)
from zoo import DataError


class StoredKeys(Sequence[str]):
    """The keys of all rows, decoded one at a time from the map."""

    def __init__(self, path: Path, ends: np.ndarray) -> None:
        """Map the file of keys.

        Args:
            path: of the keys, UTF-8, one after another.
            ends: N, where each key ends in the file.
        """
        self._ends = ends
        self._bytes: mmap.mmap | bytes = b""
        if len(ends):
            with open(path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), int(ends[-1]) or 1, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._decode(number) for number in range(*row.indices(len(self)))]
        return self._decode(range(len(self))[row])

    def _decode(self, row: int) -> str:
        start = int(self._ends[row - 1]) if row else 0
        return self._bytes[start : int(self._ends[row])].decode()

    def __iter__(self) -> Iterator[str]:
        return map(self._decode, range(len(self)))

    def find(self, key: str) -> int | None:
        """The first row of that key, or None.

        Scans the bytes; no table of a million strings is built.
        """
        encoded = key.encode()
        if not encoded:
            return None
        position = self._bytes.find(encoded)
        while position >= 0:
            row = int(np.searchsorted(self._ends, position, side="right"))
            if self[row] == key:
                return row
            # found within a longer key: go on from the next one
            position = self._bytes.find(encoded, int(self._ends[row]))
        return None


class FeatureStore:
    """A store, opened for reading; nothing is read before it is asked for.

    Attributes:
        folder: where it lies.
        manifest: what is in it.
    """

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        """Trust the manifest; :meth:`open` reads and checks it.

        Args:
            folder: where the store lies.
            manifest: of the rows that count.
        """
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: str | Path) -> "FeatureStore":
        """Open a store that ``npid embed`` or :func:`downstream.retrieval.embed` wrote.

        Raises:
            DataError: if it is no store, or one of its files is shorter than the manifest says.

        Example:
            >>> import tempfile
            >>> from downstream.retrieval import EmbedConfig, embed
            >>> folder = tempfile.mkdtemp()
            >>> _ = embed("npid-cifar10-small", "digits", folder, EmbedConfig(split="test"))
            >>> store = FeatureStore.open(folder)
            >>> len(store), store.dim, store.keys[3], store.classes[store.labels[3]]
            (360, 128, 'test/000003', '9')
            >>> store.embeddings.shape
            torch.Size([360, 128])
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for name, size in manifest.sizes.items():
            path = folder / name
            existing_size = path.stat().st_size if path.is_file() else 0
            if existing_size < size:
                raise DataError(
                    f"{path}: truncated: {existing_size:,} bytes of {size:,}; "
                    "bring it back from a copy, or embed again into another folder"
                )
        return cls(folder, manifest)

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.manifest.dim

    @cached_property
    def digest(self) -> str:
        """A sha256 that changes with the model and with any row; an index belongs to one digest."""
        manifest = self.manifest
        lines = [manifest.model_sha256, manifest.dtype, str(manifest.dim)]
        for block in manifest.blocks:
            lines.append(f"{block.end} {block.rows} {block.keys}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _map(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if not len(self):
            return np.empty(shape, dtype)
        # "c" (copy on write): torch takes no read-only arrays; nothing is ever written
        return np.memmap(self.folder / name, dtype, "c", shape=shape)

    def _map_rows(self) -> np.ndarray:
        return self._map(ROWS, ROW_DTYPES[self.manifest.dtype], (len(self), self.dim))

    @cached_property
    def rows(self) -> np.ndarray:
        """N×D memory map: float32, or the 16 bits of bfloat16 as uint16."""
        return self._map_rows()

    @cached_property
    def embeddings(self) -> Tensor:
        """The rows as an N×D tensor on the map, float32 or bfloat16."""
        return _as_tensor(self.rows)

    @cached_property
    def _scattered_rows(self) -> np.ndarray:
        """The rows once more, mapped without read-ahead: a row brings its own page and no other."""
        rows = self._map_rows()
        if isinstance(rows, np.memmap) and hasattr(mmap, "MADV_RANDOM"):
            rows._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
        return rows

    def take(self, rows: np.ndarray) -> Tensor:
        """Read some rows; only their pages are read, in the order in which they lie.

        Args:
            rows: M row numbers, in any order.

        Returns:
            M×D float32.
        """
        numbers = np.asarray(rows).reshape(-1)
        order = np.argsort(numbers)
        values = np.empty((len(numbers), self.dim), self._scattered_rows.dtype)
        values[order] = self._scattered_rows[numbers[order]]
        return _as_tensor(values).float()

    @cached_property
    def records(self) -> np.ndarray:
        """N records (end, label, fingerprint) on the map."""
        return self._map(RECORDS, RECORD, (len(self),))

    @property
    def labels(self) -> np.ndarray:
        """N int32 class numbers, −1 where there is none."""
        return self.records["label"]

    @property
    def classes(self) -> list[str]:
        """Class names; empty where no image has a label."""
        return self.manifest.classes

    @cached_property
    def keys(self) -> StoredKeys:
        """The images' keys, by row."""
        return StoredKeys(self.folder / KEYS, self.records["end"])

    @property
    def data(self) -> str:
        """The data set that the first rows came from; :meth:`part` tells that of any row."""
        return self.manifest.parts[0].data if self.manifest.parts else ""

    def part(self, row: int) -> Part:
        """Find the data set that a row came from."""
        for part in reversed(self.manifest.parts):
            if part.first <= row:
                return part
        raise IndexError(row)

    def class_name(self, row: int) -> str | None:
        """Look up the class of a row; None where it has none."""
        label = int(self.labels[row])
        return self.classes[label] if label >= 0 else None

    def verify(self) -> list[str]:
        """Read everything and compare it with the checksums.

        Returns:
            One line for each file and block that was altered; none if all is as it was written.
        """
        faults: list[str] = []
        first_row = 0
        with contextlib.ExitStack() as stack:
            files = {}
            for name in self.manifest.sizes:
                files[name] = stack.enter_context(open(self.folder / name, "rb"))
            for block in self.manifest.blocks:
                ends = self.manifest.ends(block)
                for name, checksum in block.checksums.items():
                    content = files[name].read(ends[name] - files[name].tell())
                    if hashlib.sha256(content).hexdigest() != checksum:
                        rows = f"rows {first_row}–{block.end - 1}"
                        faults.append(f"{self.folder / name}: altered within {rows}")
                first_row = block.end
        return faults


def _as_tensor(rows: np.ndarray) -> Tensor:
    """Stored rows as a tensor of the type that they mean, without a copy."""
    tensor = torch.from_numpy(rows)
    return tensor if rows.dtype == np.float32 else tensor.view(torch.bfloat16)
