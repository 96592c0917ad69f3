"""Files of which a manifest says how much counts: a kill costs what came after it, and no more."""

import os
from collections.abc import Mapping
from pathlib import Path

from zoo.utils.files import WriteError, write_text

Content = bytes | memoryview


class CommittedFiles:
    """Files in one folder that are written in place, and the manifest that says how much counts.

    Content is written and flushed to the disk first; then a new manifest replaces the old one in
    one step. What a crash left beyond the manifest is overwritten by the next writer. The feature
    store and the cache of layers both write by it; what their manifests say is their own affair.

    Attributes:
        folder: where the files and the manifest lie.
    """

    def __init__(self, folder: Path, manifest_name: str, advice: str) -> None:
        """Write nothing yet.

        Args:
            folder: where the files lie.
            manifest_name: file name of the manifest.
            advice: the end of the message when a write fails: what is kept, what to do.
        """
        self.folder = folder
        self._manifest_name = manifest_name
        self._advice = advice
        self._unflushed: set[str] = set()

    def truncate(self, sizes: Mapping[str, int]) -> None:
        """Cut off what a crash left beyond the manifest, and make files that are not there.

        Args:
            sizes: {file name: bytes that the manifest counts}.

        Raises:
            WriteError: on a missing permission and the like.
        """
        for name, size in sizes.items():
            path = self.folder / name
            try:
                with open(path, "ab") as file:
                    file.truncate(size)
            except OSError as error:
                raise self._write_error(path, error) from error

    def write(self, name: str, offset: int, content: Content) -> None:
        """Write into a file that is there; it does not count before :meth:`commit`.

        Raises:
            WriteError: on a full disk, a missing permission and the like.
        """
        path = self.folder / name
        try:
            with open(path, "r+b") as file:
                file.seek(offset)
                file.write(content)
        except OSError as error:
            raise self._write_error(path, error) from error
        self._unflushed.add(name)

    def commit(self, manifest: str) -> None:
        """Flush what was written to the disk, then replace the manifest.

        Raises:
            WriteError: on a full disk and the like; the old manifest stays.
        """
        for name in sorted(self._unflushed):
            path = self.folder / name
            try:
                with open(path, "r+b") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise self._write_error(path, error) from error
        self._unflushed.clear()
        write_text(self.folder / self._manifest_name, manifest)

    def _write_error(self, path: Path, error: OSError) -> WriteError:
        reason = error.strerror or str(error)
        return WriteError(f"cannot write {path}: {reason}; {self._advice}")
