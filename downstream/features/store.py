"""Rows on disk: the features of a collection of images, memory-mapped, with keys, labels and a manifest.

A store is a folder of

    manifest.json   model, input, parts, and the checksums of each block; replaced in one step after a block
    rows.bin        N×D, float32 or bfloat16, little-endian
    keys.bin        the images' keys, UTF-8, one after another
    records.bin     per row: where its key ends, its label (−1: none) and a stamp of the image's content

The three .bin files only grow. What lies beyond the manifest's last block is a block that a crash cut off: it is not
read, and the next writer cuts it off.
"""

import hashlib
import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo import DataError

MANIFEST, ROWS, KEYS, RECORDS = "manifest.json", "rows.bin", "keys.bin", "records.bin"
FORMAT = 1
RECORD = np.dtype([("end", "<u8"), ("label", "<i4"), ("stamp", "<u4")])
_STORED: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype("<u2"),
}  # numpy has no bfloat16: its 16 bits
DTYPES = tuple(_STORED)


@dataclass(kw_only=True)
class Part:
    """Images that came from one data set.

    Attributes:
        data, split: what ``open_source`` takes.
        digest: of the data set when it was embedded last.
        first: its first row; its rows end where the next part's begin.
        bad: key → stamp of the images that could not be read and were left out.
    """

    data: str
    split: str
    digest: str
    first: int
    bad: dict[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class Block:
    """Rows that were written together: their end, the end of their keys, and sha256 of their bytes in each file."""

    end: int
    keys_end: int
    rows: str
    keys: str
    records: str


@dataclass(kw_only=True)
class Manifest:
    """
    Attributes:
        model: what the user typed, or where it lies.
        model_sha256: of its weight file.
        input: size, crop_pct, mean and std of its preprocessing.
        dim, dtype: of a row.
        classes: names of all labels.
        parts, blocks: in order of rows.
    """

    model: str
    model_sha256: str
    input: dict[str, Any]
    dim: int
    dtype: str
    classes: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.blocks[-1].end if self.blocks else 0

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file up to the last block."""
        keys = self.blocks[-1].keys_end if self.blocks else 0
        row = self.dim * _STORED[self.dtype].itemsize
        return {ROWS: self.count * row, KEYS: keys, RECORDS: self.count * RECORD.itemsize}

    def text(self) -> str:
        return (
            json.dumps(
                {"format": FORMAT, "count": self.count, **asdict(self)},
                indent=1,
                ensure_ascii=False,
            )
            + "\n"
        )


def read_manifest(folder: str | Path) -> Manifest:
    """
    Raises:
        DataError: if there is none, or it is none of ours.
    """
    path = Path(folder) / MANIFEST
    try:
        found = json.loads(path.read_text())
        made_by, count = found.pop("format"), found.pop("count")
        if made_by != FORMAT:
            raise DataError(
                f"{path}: written by another version of npid-zoo (format {made_by}); embed again"
            )
        parts, blocks = ([kind(**entry) for entry in found.pop(name)] for name, kind in _LISTS)
        manifest = Manifest(**found, parts=parts, blocks=blocks)
        if manifest.dtype not in _STORED or manifest.count != count or manifest.dim < 1:
            raise ValueError("dtype, dim or count is not right")
        return manifest
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{path}: not found; a store is what `npid embed MODEL DATA --out DIR` writes"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not the manifest of a store ({error}); embed again into another folder"
        ) from error


_LISTS: tuple[tuple[str, Any], ...] = (("parts", Part), ("blocks", Block))


class Keys(Sequence[str]):
    """The keys of all rows, decoded one at a time from the map."""

    def __init__(self, path: Path, ends: np.ndarray) -> None:
        """
        Args:
            ends: N, where each key ends in the file.
        """
        self.ends = ends
        self.bytes: mmap.mmap | bytes = b""
        if len(ends):
            with open(path, "rb") as file:
                self.bytes = mmap.mmap(file.fileno(), int(ends[-1]) or 1, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        return self.bytes[int(self.ends[row - 1]) if row else 0 : int(self.ends[row])].decode()

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def find(self, key: str) -> int | None:
        """The first row of that key, or None. Scans the bytes; no table of a million strings is built."""
        wanted, at = key.encode(), 0
        while wanted and (at := self.bytes.find(wanted, at)) >= 0:
            row = int(np.searchsorted(self.ends, at, side="right"))
            if self[row] == key:
                return row
            at = int(
                self.ends[row]
            )  # a key that is found within another is sought on from the next
        return None


class Store:
    """A store, opened for reading; nothing is read before it is asked for.

    Attributes:
        folder: where it lies.
        manifest: what is in it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: str | Path) -> "Store":
        """
        Raises:
            DataError: if it is no store, or one of its files is shorter than the manifest says.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for name, size in manifest.sizes.items():
            there = (folder / name).stat().st_size if (folder / name).is_file() else 0
            if there < size:
                raise DataError(
                    f"{folder / name}: truncated: {there:,} bytes of {size:,}; "
                    "bring it back from a copy, or embed again into another folder"
                )
        return cls(folder, manifest)

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def dim(self) -> int:
        return self.manifest.dim

    @cached_property
    def digest(self) -> str:
        """Changes with the model and with any row; an index belongs to one digest."""
        m = self.manifest
        names = [
            m.model_sha256,
            m.dtype,
            str(m.dim),
            *(f"{b.end} {b.rows} {b.keys}" for b in m.blocks),
        ]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()

    def _map(
        self, name: str, dtype: np.dtype, shape: tuple[int, ...], *, scattered: bool = False
    ) -> np.ndarray:
        if not len(self):
            return np.empty(shape, dtype)
        # "c" (copy on write): torch takes no read-only arrays; nothing is ever written
        mapped = np.memmap(self.folder / name, dtype, "c", shape=shape)
        if scattered and hasattr(mmap, "MADV_RANDOM"):
            mapped._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
        return mapped

    @cached_property
    def rows(self) -> np.ndarray:
        """N×D memory map: float32, or the 16 bits of bfloat16 as uint16."""
        return self._map(ROWS, _STORED[self.manifest.dtype], (len(self), self.dim))

    @cached_property
    def vectors(self) -> Tensor:
        """The rows as an N×D tensor on the map, float32 or bfloat16."""
        return _tensor(self.rows)

    @cached_property
    def _scattered(self) -> np.ndarray:
        """The rows once more, mapped without read-ahead: a row brings its own page and no other."""
        return self._map(ROWS, _STORED[self.manifest.dtype], (len(self), self.dim), scattered=True)

    def take(self, rows: np.ndarray) -> Tensor:
        """Some rows, M×D float32; only their pages are read, in order of place."""
        at = np.asarray(rows).reshape(-1)
        order = np.argsort(at)
        found = np.empty((len(at), self.dim), self._scattered.dtype)
        found[order] = self._scattered[at[order]]
        return _tensor(found).float()

    @cached_property
    def records(self) -> np.ndarray:
        """N records (end, label, stamp) on the map."""
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
    def keys(self) -> Keys:
        return Keys(self.folder / KEYS, self.records["end"])

    @property
    def data(self) -> str:
        """The data set that the first rows came from; :meth:`part` tells that of any row."""
        return self.manifest.parts[0].data if self.manifest.parts else ""

    def part(self, row: int) -> Part:
        """Which data set a row came from."""
        return next(part for part in reversed(self.manifest.parts) if part.first <= row)

    def faults(self) -> list[str]:
        """Reads everything; one line for each file and block that does not have its checksum."""
        found, first, at = [], 0, dict.fromkeys(self.manifest.sizes, 0)
        files = {name: open(self.folder / name, "rb") for name in at}  # noqa: SIM115  closed below
        row = {name: size // max(len(self), 1) for name, size in self.manifest.sizes.items()}
        try:
            for block in self.manifest.blocks:
                ends = {
                    ROWS: block.end * row[ROWS],
                    KEYS: block.keys_end,
                    RECORDS: block.end * row[RECORDS],
                }
                for name, sha in ((ROWS, block.rows), (KEYS, block.keys), (RECORDS, block.records)):
                    if hashlib.sha256(files[name].read(ends[name] - at[name])).hexdigest() != sha:
                        found.append(
                            f"{self.folder / name}: altered within rows {first}–{block.end - 1}"
                        )
                first, at = block.end, ends
        finally:
            for file in files.values():
                file.close()
        return found


def _tensor(rows: np.ndarray) -> Tensor:
    """Stored rows as a tensor of the type that they mean, without a copy."""
    tensor = torch.from_numpy(rows)
    return tensor if rows.dtype == np.float32 else tensor.view(torch.bfloat16)
