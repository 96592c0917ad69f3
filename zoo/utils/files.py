"""Writing that leaves either the old state or the new one, never half of either."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from zoo.errors import NpidError, RunError

LOCK = ".lock"


class WriteError(NpidError):
    """A file or folder that could not be written; what was there before is intact."""


def _flush_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut (a no-op where folders cannot be opened, as on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:  # the second is how safetensors reports a full disk
        reason = getattr(error, "strerror", None) or str(error)
        raise WriteError(
            f"cannot write {path}: {reason}; what was there before is unchanged"
        ) from error


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Write a file aside and put it in place when the block ends without an error: new file, fsync, rename.

    Yields:
        The temporary path to write to.

    Raises:
        WriteError: on a full disk, a missing permission and the like; the old file is intact.
    """
    path = Path(path)
    with _told(path):
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
    with _told(path):
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
        if occupied and not replace:
            raise WriteError(
                f"{path} exists and is not empty; choose another folder or remove it first"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield aside
            for file in aside.rglob("*"):
                if file.is_file():
                    with open(file, "rb+") as handle:
                        os.fsync(handle.fileno())
            os.chmod(aside, 0o755)
            old = None
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                os.replace(path, old / path.name)
            try:
                os.replace(aside, path)
            except OSError:
                if old is not None:
                    os.replace(old / path.name, path)
                raise
            _flush_folder(path.parent)
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def format_bytes(size: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


@contextlib.contextmanager
def folder_lock(run: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends.

    Raises:
        RunError: if another process holds it.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        with open(run / LOCK, "w") as handle:
            try:
                import fcntl
            except ImportError:  # no such locks on Windows
                yield
                return
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"{run}: another process trains here; wait for it, or choose another --out"
                ) from error
            yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise RunError(
            f"{error.filename}: cannot be used as a run folder ({error.strerror})"
        ) from error
