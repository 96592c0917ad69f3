"""Where files and folders are written before they get their name, and what a kill leaves of that.

A temporary name says which process made it, and the process holds a lock on it. A name whose
process is gone and whose lock is free is rubbish, which the next write in the folder removes.
"""

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

_ASIDE = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.aside", re.DOTALL)
_CLIPPED = 60  # bytes of the final name within a temporary one: names have an end, too
_PREVIOUS = ".previous"
_swept: set[Path] = set()


def is_aside(name: str) -> bool:
    """Whether a file name is one of those that a write takes before the final one."""
    return _ASIDE.fullmatch(name) is not None


def is_own(name: str) -> bool:
    """Whether a file name is a temporary one that this process made, and so holds the lock on."""
    match = _ASIDE.fullmatch(name)
    return match is not None and int(match[1]) == os.getpid()


def _clip(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_CLIPPED])


def _new_name(path: Path) -> Path:
    name = f".{_clip(path.name)}.{os.getpid()}.{secrets.token_hex(4)}.aside"
    return path.with_name(name)


def create_file(path: Path) -> tuple[Path, int]:
    """Create an empty file beside a path.

    Returns:
        Where it is, and a handle that locks it; to be closed when it has its final name.

    Raises:
        OSError: If it cannot be.
    """
    sweep(path.parent)
    aside = _new_name(path)
    handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)  # less the umask
    _lock(handle)
    return aside, handle


def create_folder(path: Path) -> tuple[Path, int | None]:
    """Create an empty folder beside a path; see :func:`create_file`."""
    sweep(path.parent)
    aside = _new_name(path)
    os.mkdir(aside, 0o777)  # less the umask
    try:
        handle = os.open(aside, os.O_RDONLY)
    except OSError:  # a system that opens no folders
        return aside, None
    _lock(handle)
    return aside, handle


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder; once for a folder is enough."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _ASIDE.fullmatch(entry.name)
            if match and not _is_alive(int(match[1])) and _is_free(entry.path):
                remove(Path(entry.path))


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _lock(handle: int) -> bool:
    """Lock a handle for as long as it is open; True if no other process holds it."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_free(path: str) -> bool:
    """Whether no process on any machine holds a temporary name."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags)
    except OSError:
        return False
    try:
        return _lock(handle)
    finally:
        os.close(handle)


def swap(new: Path, path: Path) -> None:
    """Give a folder the name of another one, and remove that.

    Systems that can exchange two names do it in one step. Elsewhere the old folder has another name
    for a moment, from which :func:`recover` brings it back after a kill.

    Raises:
        OSError: If it cannot be; the old folder has its name then.
    """
    previous = _previous(path)
    if not os.path.lexists(path) or _is_empty_folder(path):
        os.replace(new, path)
    elif _exchange(new, path):
        remove(new)
    else:
        remove(previous)
        os.replace(path, previous)
        try:
            os.replace(new, path)
        except OSError:
            os.replace(previous, path)
            raise
    remove(previous)


def recover(path: Path) -> None:
    """Bring back the folder that a kill caught between two names, if there is such a one."""
    if not path.name:  # the current folder has no other name to come back from
        return
    previous = _previous(path)
    if not os.path.lexists(path) and previous.is_dir():
        with contextlib.suppress(OSError):
            os.replace(previous, path)


def _previous(path: Path) -> Path:
    return path.with_name(f".{_clip(path.name)}{_PREVIOUS}")


def _is_empty_folder(path: Path) -> bool:
    return os.name == "posix" and stat.S_ISDIR(os.lstat(path).st_mode) and not os.listdir(path)


@cache
def _exchange_function() -> Callable[[bytes, bytes], int] | None:
    """The system's call that exchanges two names, where it has one."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            rename = library.renamex_np
            return lambda one, other: int(rename(one, other, 2))  # RENAME_SWAP
        rename_at = library.renameat2
    except (OSError, AttributeError, TypeError):
        return None
    current = -100  # AT_FDCWD
    return lambda one, other: int(rename_at(current, one, current, other, 2))  # RENAME_EXCHANGE


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or file system cannot."""
    function = _exchange_function()
    return function is not None and function(os.fsencode(one), os.fsencode(other)) == 0
