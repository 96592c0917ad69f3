"""What may come in as an image: which files, which formats, how large.

Pillow chooses a decoder by content, and some of them start other programs (EPS starts Ghostscript),
so that only the formats named here are tried, whatever a file is called.
"""

import io
import os
import stat
import struct
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image, TiffImagePlugin

from zoo.errors import DataError

FORMATS = (
    ("JPEG", "MPO", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
    + ("JPEG2000", "TGA")
    + ("AVIF", "HEIF")  # where Pillow or a plug-in of it reads them
)
"""Names of the formats, as Pillow has them."""
MAX_BYTES = 1 << 30
"""Of an image file."""
MAX_ASPECT = 200
"""How many times longer than the other a side may be: what scales the short side to a model's
input makes the long one as much longer."""


class UnfitImageError(ValueError):
    """A file that is refused as an image before its pixels are decoded."""


def open_regular(path: str | Path) -> BinaryIO:
    """Open an image file, which must be a regular one.

    A pipe would wait for a writer without end, and a device has no end.

    Raises:
        UnfitImageError: If it is no regular file, or larger than ``MAX_BYTES``.
        OSError: If it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, flags), "rb")
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise UnfitImageError("it is a pipe, a device or a folder, not a regular file")
    if status.st_size > MAX_BYTES:
        file.close()
        raise UnfitImageError(f"it has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
    return file


def read_bytes(path: str | Path) -> bytes:
    """Read an image file; see :func:`open_regular`."""
    with open_regular(path) as file:
        return file.read(MAX_BYTES + 1)


def open_image(source: bytes | BinaryIO) -> Image.Image:
    """Open an image of an allowed format and size; its pixels are decoded later.

    Args:
        source: The content of the file, or the open file.

    Raises:
        UnfitImageError: If it is too long for its width, or has no pixels.
        PIL.UnidentifiedImageError: If it has none of the ``FORMATS``.
        PIL.Image.DecompressionBombError: If it has more pixels than Pillow's limit, which stays.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    image = Image.open(file, formats=_readable_formats("HEIF" in Image.OPEN))
    check_aspect(image.size)
    return image


def check_aspect(size: tuple[int, int]) -> None:
    """Refuse images that are lines.

    Args:
        size: Width and height, pixels.

    Raises:
        UnfitImageError: If the one is more than ``MAX_ASPECT`` times the other.
    """
    if min(size) < 1 or max(size) > MAX_ASPECT * min(size):
        raise UnfitImageError(
            f"it has {size[0]} × {size[1]} pixels; expected no side longer than {MAX_ASPECT} times "
            "the other"
        )


def check_pixels(content: bytes, name: str, limit: int) -> None:
    """Refuse an image by the size that its header tells; what is no image passes.

    Args:
        content: The file's.
        name: What to call it in the message.
        limit: Width times height, pixels.

    Raises:
        DataError: If it has more pixels.
    """
    try:
        width, height = open_image(content).size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    if width * height > limit:
        raise DataError(
            f"{name}: has {width} × {height} pixels; at most {limit / 1e6:g} million are taken"
        )


def tiff_bands(content: bytes) -> str | None:
    """Bands and bits of a TIFF file, in words; None for other files and damaged ones."""
    if not content.startswith((b"II*\x00", b"MM\x00*")):
        return None
    file = io.BytesIO(content)
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        bits = directory.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        bands = directory.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    except (OSError, ValueError, SyntaxError, TypeError, struct.error):
        return None
    return f"{bands} bands of {', '.join(str(each) for each in sorted(set(bits)))} bits"


@cache
def _readable_formats(has_heif: bool) -> tuple[str, ...]:
    """Those of the formats that this Pillow reads.

    Args:
        has_heif: Whether a plug-in for HEIF is there by now; asked anew when that changes.
    """
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
