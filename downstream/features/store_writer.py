"""Adding rows to a store, a block at a time; a block is there whole or not at all."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from downstream.features.committed_files import CommittedFiles
from downstream.features.manifest import (
    KEYS,
    MANIFEST,
    RECORD,
    RECORDS,
    ROWS,
    Block,
    StoreManifest,
)
from downstream.features.store import FeatureStore
from zoo import DataError, ModelError
from zoo.utils.aside import is_aside
from zoo.utils.files import LOCK, WriteError, folder_lock

_OUR_FILES = {LOCK, ROWS, KEYS, RECORDS}
_BUSY = "another process embeds here; wait for it, or choose another --out"


class StoreWriter:
    """Appends to a store's files. Use :func:`open_writer`.

    Attributes:
        folder: of the store.
        manifest: of what is there; replaced when a block is appended.
    """

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        """Cut off what a crash left beyond the last block, and make files that are not there.

        Args:
            folder: of the store, held by this process.
            manifest: of what is there.
        """
        self.folder = folder
        self.manifest = manifest
        self._files = CommittedFiles(folder, MANIFEST, "the blocks before this one are kept")
        self._files.truncate(manifest.sizes)

    def save(self) -> None:
        """Replace the manifest on disk by :attr:`manifest`."""
        self._files.commit(self.manifest.text())

    def append(
        self,
        embeddings: Tensor,
        keys: Sequence[str],
        fingerprints: Sequence[int] | np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Add one block and commit it: the files are flushed, then the manifest counts the block.

        Args:
            embeddings: B×D float32.
            keys: of the images, B.
            fingerprints: 32 bits each that tell an image from a changed one, B.
            labels: B class numbers, −1 where there is none.

        Raises:
            ModelError: if an embedding is not finite.
            WriteError: if the disk is full and the like; the blocks before it stay.
        """
        if not torch.isfinite(embeddings).all():
            raise ModelError(
                f"{self.manifest.model}: gives vectors that are not finite, as for {keys[0]}; "
                "not stored"
            )
        offsets = self.manifest.sizes
        encoded_keys = [key.encode() for key in keys]
        key_lengths = [len(key) for key in encoded_keys]
        records = np.empty(len(keys), RECORD)
        records["end"] = offsets[KEYS] + np.cumsum(key_lengths)
        records["label"] = labels
        records["fingerprint"] = fingerprints
        rows = embeddings.contiguous().to(getattr(torch, self.manifest.dtype))
        row_bytes = rows.view(torch.uint8).numpy().tobytes()
        key_bytes = b"".join(encoded_keys)
        record_bytes = records.tobytes()
        self._files.write(ROWS, offsets[ROWS], row_bytes)
        self._files.write(KEYS, offsets[KEYS], key_bytes)
        self._files.write(RECORDS, offsets[RECORDS], record_bytes)
        block = Block(
            end=self.manifest.count + len(keys),
            keys_end=offsets[KEYS] + len(key_bytes),
            rows=hashlib.sha256(row_bytes).hexdigest(),
            keys=hashlib.sha256(key_bytes).hexdigest(),
            records=hashlib.sha256(record_bytes).hexdigest(),
        )
        grown = replace(self.manifest, blocks=[*self.manifest.blocks, block])
        self._files.commit(grown.text())
        self.manifest = grown


@contextlib.contextmanager
def open_writer(folder: str | Path, new: StoreManifest) -> Iterator[StoreWriter]:
    """Hold a store for this process and append to it.

    Args:
        folder: of the store; made if need be.
        new: manifest of a store that is not there yet; it has no blocks.

    Yields:
        The writer; the store is free again when the block ends.

    Raises:
        DataError: if another process writes there, or the store that is there holds other features.
        WriteError: if the folder cannot be made or written, or holds something else than a store.

    Example:
        >>> import tempfile
        >>> new = StoreManifest(model="mine", model_sha256="", input={}, dim=2, dtype="float32")
        >>> folder = tempfile.mkdtemp()
        >>> with open_writer(folder, new) as writer:
        ...     writer.append(torch.eye(2), ["a.png", "b.png"], [0, 0], np.array([-1, -1]))
        >>> FeatureStore.open(folder).keys[:]
        ['a.png', 'b.png']
    """
    folder = Path(folder)
    _refuse_other_files(folder)
    with folder_lock(folder, busy=_BUSY, error=DataError):
        manifest = new
        if (folder / MANIFEST).exists():
            manifest = FeatureStore.open(folder).manifest
            _check_comparable(folder, manifest, new)
        yield StoreWriter(folder, manifest)


def _refuse_other_files(folder: Path) -> None:
    """Refuse a folder that holds something else than a store; nothing is written to it."""
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return
    for path in sorted(folder.iterdir()):
        left_by_crash = is_aside(path.name) or path.name.startswith(f".{MANIFEST}.")
        if path.name not in _OUR_FILES and not left_by_crash:
            raise WriteError(
                f"{folder}: holds {path.name} and no store; "
                "choose another --out, or an empty folder"
            )


def _check_comparable(folder: Path, existing: StoreManifest, new: StoreManifest) -> None:
    """Rows of one store are comparable: one model, one preprocessing, one type."""
    for name in ("model_sha256", "input", "dim", "dtype"):
        old_value = getattr(existing, name)
        new_value = getattr(new, name)
        if old_value != new_value:
            raise DataError(
                f"{folder}: holds features of {name} {old_value}, not {new_value}; "
                "choose another --out"
            )
