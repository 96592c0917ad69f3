"""Writing that leaves either the old state or the new one, never half of either."""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from zoo.errors import NpidError, RunError
from zoo.utils.aside import create_file, create_folder, is_own, recover, remove, swap, sweep

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
        aside, handle = create_file(path)
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            yield aside
            with open(aside, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(aside, mode)  # some writers make a file of their own in its place
            os.replace(aside, path)
        except BaseException:
            remove(aside)
            raise
        finally:
            os.close(handle)
        _flush_folder(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file in one step; see :func:`new_file`."""
    with new_file(path) as aside:
        aside.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Replace a UTF-8 text file in one step; see :func:`write_bytes`."""
    # a file name that is no UTF-8 has no other form in a text; JSON reads this one back
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


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
        recover(path)
        if path.is_dir():
            sweep(path)
        occupied = os.path.lexists(path) and (not path.is_dir() or any(path.iterdir()))
        if occupied and not replace:
            raise WriteError(
                f"{path} exists and is not empty; choose another folder or remove it first"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        aside, handle = create_folder(path)
        try:
            yield aside
            _flush_files(aside)
            swap(aside, path)
            _flush_folder(path.parent)
        finally:
            remove(aside)
            if handle is not None:
                os.close(handle)


def _flush_files(folder: Path) -> None:
    """Flush what a folder holds to the disk, with the permissions that the user's umask leaves."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
            path.chmod(mode)


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


@contextlib.contextmanager
def file_lock(path: str | Path) -> Iterator[None]:
    """Let one process at a time read, change and replace a file; others wait.

    Nothing is left beside the file: the lock is on its folder where the system can do that, and on
    a file among the temporary ones elsewhere.

    Args:
        path: the file, which need not exist.

    Raises:
        WriteError: if its folder cannot be made or read.
    """
    path = Path(path).absolute()
    with _named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if is_own(path.parent.name):
        yield  # a new folder without its name yet: only this process writes in it, and has its lock
        return
    handle = _lock_folder(path.parent)
    if handle is not None:
        try:
            yield
        finally:
            os.close(handle)
        return
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    with FileLock(Path(tempfile.gettempdir()) / f"npid-{name}.lock"):
        yield


def _lock_folder(folder: Path) -> int | None:
    """Wait for the lock on a folder; None where folders cannot be locked."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        os.close(handle)
        return None
    return handle
