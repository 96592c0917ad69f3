"""What the file system says of a file."""

import hashlib
from pathlib import Path

from zoo.data.image_files import UnfitImageError, open_regular, read_bytes

_SECOND = 1_000_000_000  # nanoseconds
_HASHED_TOGETHER = 1 << 20  # bytes


def file_size(path: Path) -> int:
    """Bytes of a file; -1 where there is none: reading it raises, or skips it."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def file_bytes(path: Path) -> bytes | None:
    """The content of an image file; None where it cannot be read."""
    try:
        return read_bytes(path)
    except (OSError, UnfitImageError):
        return None


def file_state(path: Path) -> str:
    """What changes on this machine whenever a file is written: its size and times.

    The time of the last change of the entry is part of it, for that of the content can be set back.
    A file system that keeps whole seconds only may miss a change: there it is the content's hash.
    """
    try:
        status = path.stat()
        state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        if status.st_mtime_ns % _SECOND == 0 and status.st_ctime_ns % _SECOND == 0:
            state += f" {_hash(path)}"
    except (OSError, UnfitImageError):
        return "absent"
    return state


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open_regular(path) as file:
        while block := file.read(_HASHED_TOGETHER):
            digest.update(block)
    return digest.hexdigest()
