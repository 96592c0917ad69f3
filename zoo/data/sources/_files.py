"""What the file system says of a file."""

from pathlib import Path


def file_size(path: Path) -> int:
    """Bytes of a file; -1 where there is none: reading it raises, or skips it."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
