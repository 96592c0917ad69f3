"""Adding rows to a store, a block at a time; a block is there whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from downstream.features.store import KEYS, MANIFEST, RECORD, RECORDS, ROWS, Block, Manifest, Store
from zoo import DataError, ModelError
from zoo.utils.files import LOCK, WriteError, folder_lock, write_text

_OURS = {LOCK, ROWS, KEYS, RECORDS}


class Writer:
    """Appends to a store's files. Use :func:`writing`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    def cut(self) -> None:
        """Cut off what a crash left beyond the last block, and make the files that are not there."""
        for name, size in self.manifest.sizes.items():
            with open(self.folder / name, "ab") as file:
                file.truncate(size)

    def save(self) -> None:
        """Replace the manifest."""
        write_text(self.folder / MANIFEST, self.manifest.text())

    def append(
        self,
        vectors: Tensor,
        keys: Sequence[str],
        stamps: Sequence[int] | np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Add one block and commit it: the files are flushed first, then the manifest counts the block.

        Args:
            vectors: B×D float32.
            keys, stamps: of the images, B each.
            labels: B class numbers, −1 where there is none.

        Raises:
            ModelError: if a vector is not finite.
            WriteError: if the disk is full and the like; the blocks before it stay.
        """
        if not torch.isfinite(vectors).all():
            raise ModelError(
                f"{self.manifest.model}: gives vectors that are not finite, as for {keys[0]}; not stored"
            )
        encoded = [key.encode() for key in keys]
        start = self.manifest.blocks[-1].keys_end if self.manifest.blocks else 0
        records = np.empty(len(keys), RECORD)
        records["end"] = start + np.cumsum([len(key) for key in encoded])
        records["label"], records["stamp"] = labels, stamps
        rows = vectors.contiguous().to(getattr(torch, self.manifest.dtype))
        parts = {
            ROWS: rows.view(torch.uint8).numpy().tobytes(),
            KEYS: b"".join(encoded),
            RECORDS: records.tobytes(),
        }
        sizes = self.manifest.sizes
        for name, content in parts.items():
            _add(self.folder / name, sizes[name], content)
        sha = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
        self.manifest.blocks.append(
            Block(
                end=self.manifest.count + len(keys),
                keys_end=int(records["end"][-1]),
                rows=sha[ROWS],
                keys=sha[KEYS],
                records=sha[RECORDS],
            )
        )
        self.save()


def _add(path: Path, size: int, content: bytes) -> None:
    try:
        with open(path, "r+b") as file:
            file.seek(size)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WriteError(
            f"cannot write {path}: {error.strerror}; the blocks before this one are kept"
        ) from error


@contextlib.contextmanager
def writing(folder: str | Path, fresh: Manifest) -> Iterator[Writer]:
    """Hold the store for this process and append to it.

    Args:
        folder: of the store; made if need be.
        fresh: manifest of a store that is not there yet; it has no blocks.

    Raises:
        DataError: if another process writes there, or the store that is there holds other features.
        WriteError: if the folder cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        begun = (folder / MANIFEST).exists()
        if not begun and (
            strange := sorted(p.name for p in folder.iterdir() if p.name not in _OURS)
        ):
            raise WriteError(
                f"{folder}: holds {strange[0]} and no store; choose another --out, or an empty folder"
            )
        busy = "another process embeds here; wait for it, or choose another --out"
        with folder_lock(folder, busy=busy, error=DataError):
            manifest = Store.open(folder).manifest if (folder / MANIFEST).exists() else fresh
            _same(folder, manifest, fresh)
            writer = Writer(folder, manifest)
            writer.cut()
            yield writer
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise WriteError(
            f"{error.filename}: cannot be written ({error.strerror}); choose another --out"
        ) from error


def _same(folder: Path, there: Manifest, asked: Manifest) -> None:
    """Rows of one store are comparable: one model, one preprocessing, one type."""
    for what in ("model_sha256", "input", "dim", "dtype"):
        old, new = getattr(there, what), getattr(asked, what)
        if old != new:
            raise DataError(
                f"{folder}: holds features of {what} {old}, not {new}; choose another --out"
            )
