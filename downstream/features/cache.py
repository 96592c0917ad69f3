"""Rows per image, kept on disk: one .npy file per layer, filled from the front, and a manifest that says how far."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zoo.data.sources.builtin import cache_folder
from zoo.utils.files import WriteError, new_file, write_text

_MANIFEST = "manifest.json"
_EVERY = 2048  # images between two states of the manifest: what an interruption can cost


class Store:
    """The layers of one model on one split. What is written is safe from a kill after each ``_EVERY`` images.

    A file is as long as it will be from the first row on (with a hole where the disk allows it), so the manifest
    alone says which rows count. Any layer can be read with ``numpy.load``.
    """

    def __init__(self, about: dict[str, Any] | None, count: int) -> None:
        """
        Args:
            about: everything that the rows depend on; None to hold them in memory only.
            count: images in all.
        """
        self.about, self.count = about, count
        self.done: dict[str, int] = {}
        self.memory: dict[str, np.ndarray] = {}
        self.files: dict[str, tuple[BinaryIO, int]] = {}
        self.since = 0
        if about is None:
            return
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        self.folder = cache_folder() / "features" / name
        try:
            kept = json.loads((self.folder / _MANIFEST).read_text())
            self.done = {name: rows for name, rows in kept["rows"].items() if self._fits(name)}
        except (OSError, ValueError, KeyError, AttributeError):
            pass  # nothing there, or damaged: made anew

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _fits(self, name: str) -> bool:
        try:
            return len(np.load(self._path(name), mmap_mode="r")) == self.count
        except (OSError, ValueError):
            return False

    def write(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Add the rows of some images, in order; rows that are there already are left alone.

        Args:
            start: the first image's index.
            rows: {layer: B×…}.

        Raises:
            WriteError: on a full disk, a missing permission and the like.
        """
        count = len(next(iter(rows.values())))
        for name, some in rows.items():
            if self.about is None:
                table = self.memory.setdefault(
                    name, np.empty((self.count, *some.shape[1:]), some.dtype)
                )
                table[start : start + count] = some
            elif self.done.get(name, 0) < start + count:
                try:
                    file, head = self.files.get(name) or self._open(name, some)
                    file.seek(head + start * some[0].nbytes)
                    file.write(np.ascontiguousarray(some).data)
                except OSError as error:
                    raise self._full(error) from error
        self.since += count
        if self.since >= _EVERY or start + count == self.count:
            self._save(start + count)

    def _open(self, name: str, some: np.ndarray) -> tuple[BinaryIO, int]:
        header = io.BytesIO()
        shape = (self.count, *some.shape[1:])
        np.lib.format.write_array_header_1_0(
            header,
            {
                "descr": np.lib.format.dtype_to_descr(some.dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        head = header.getvalue()
        path, size = self._path(name), len(head) + self.count * some[0].nbytes
        if not self._fits(name) or path.stat().st_size != size:
            with (
                new_file(path) as aside,
                open(aside, "wb") as new,
            ):  # another process may have the old one mapped
                new.write(head)
                new.truncate(size)
        self.files[name] = open(path, "r+b"), len(head)
        return self.files[name]

    def _save(self, upto: int) -> None:
        self.since = 0
        if self.about is None:
            return
        try:
            for name, (file, _) in self.files.items():
                file.flush()
                os.fsync(file.fileno())
                self.done[name] = max(upto, self.done.get(name, 0))
                if upto == self.count:
                    file.close()
        except OSError as error:
            raise self._full(error) from error
        write_text(
            self.folder / _MANIFEST,
            json.dumps({"about": self.about, "rows": self.done}, indent=1) + "\n",
        )

    def _full(self, error: OSError) -> WriteError:
        reason = error.strerror or str(error)
        return WriteError(
            f"cannot write {self.folder}: {reason}; make room, or let NPID_CACHE name another folder"
        )

    def read(self, name: str) -> np.ndarray:
        """N×… rows: mapped from the file, not read into memory."""
        # copy on write, for torch wants arrays that could be written
        return self.memory[name] if self.about is None else np.load(self._path(name), mmap_mode="c")
