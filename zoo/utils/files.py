"""Writing that leaves either the old state or the new one, never half of either."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from zoo.errors import NpidError, RunError

LOCK = ".lock"


class WriteError(NpidError):
    """A file or folder that could not be written; what was there before is intact."""


def _flush_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut, where the system opens folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn whatever a write raises into one WriteError that names the file or folder."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # the second is how safetensors reports a full disk
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise WriteError(
            f"cannot write {path}: {reason}; what was there before is unchanged"
        ) from error


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Write a file aside and put it in place when the block ends without an error.

    The new file is flushed to the disk before it takes the old one's name.

    Yields:
        The temporary path to write to.

    Raises:
        WriteError: on a full disk, a missing permission and the like; the old file is intact.
    """
    path = Path(path)
    with _named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            yield Path(name)
            with open(name, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _flush_folder(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file in one step; see :func:`new_file`."""
    with new_file(path) as aside:
        aside.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Replace a UTF-8 text file in one step; see :func:`write_bytes`."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def new_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Fill a folder aside and put it in place when the block ends without an error.

    Args:
        path: the final folder.
        replace: whether an existing folder is replaced; otherwise it must be absent or empty.

    Yields:
        The temporary folder to write into.

    Raises:
        WriteError: if the folder exists and is not empty, or cannot be written.
    """
    path = Path(path)
    with _named_errors(path):
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
        if occupied and not replace:
            raise WriteError(
                f"{path} exists and is not empty; choose another folder or remove it first"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield aside
            _flush_files(aside)
            os.chmod(aside, 0o755)
            _swap(aside, path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _flush_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())


def _swap(new: Path, path: Path) -> None:
    """Give a folder its name and remove the one that had it; if that fails, the old one is back."""
    old = None
    if path.exists():
        old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
        os.replace(path, old / path.name)
    try:
        os.replace(new, path)
    except OSError:
        if old is not None:
            os.replace(old / path.name, path)
        raise
    _flush_folder(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def format_bytes(size: float) -> str:
    """Write a number of bytes as people read it.

    Example:
        >>> format_bytes(123), format_bytes(45_600_000)
        ('123 bytes', '45.6 MB')
    """
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:.3g} GB"


@contextlib.contextmanager
def folder_lock(
    folder: str | Path,
    *,
    busy: str = "another process trains here; wait for it, or choose another --out",
    error: type[NpidError] = RunError,
) -> Iterator[None]:
    """Hold a folder for this process; the lock goes with the process, however it ends.

    Args:
        folder: made if need be; the lock is the file ``.lock`` in it, which stays.
        busy: what to tell where another process holds it, after the folder's path.
        error: what to raise then.

    Raises:
        NpidError: of the class ``error``, if another process holds it.
        WriteError: if the folder cannot be made or written.
    """
    folder = Path(folder)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as timeout:
        raise error(f"{folder}: {busy}") from timeout
    except OSError as failure:
        raise WriteError(
            f"{failure.filename or folder}: cannot be written ({failure.strerror}); "
            "choose another --out"
        ) from failure
    try:
        yield
    finally:
        lock.release()
