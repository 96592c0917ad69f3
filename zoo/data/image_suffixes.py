"""The names of image files: which are read, and what to do about the others.

HEIC is read where pillow-heif is installed, AVIF where Pillow was built with it.
"""

import importlib
import importlib.util

from PIL import Image, features

from zoo.data.image_files import UnfitImageError

_HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
_HAS_AVIF = bool(features.check("avif"))
_HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_INSTALL_HEIF = "reading HEIC needs pillow-heif: pip install 'npid-zoo[heic]'"
_NEEDS_PILLOW = "reading AVIF needs Pillow 11.3 or newer with AVIF in it: pip install -U pillow"
_ALWAYS_READ = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".webp")
    + (".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k")
)
_UNREAD = frozenset(
    (".svg", ".eps", ".psd", ".jxl", ".exr", ".hdr", ".dcm", ".ico", ".jpx", ".xcf")
    + (".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")
)


def _read_suffixes() -> frozenset[str]:
    suffixes = _ALWAYS_READ
    if _HAS_HEIF:
        suffixes |= _HEIF_SUFFIXES
    if _HAS_AVIF:
        suffixes |= {".avif"}
    return suffixes


SUFFIXES = _read_suffixes()
"""Of files that are taken for images, in lower case."""


def unread_suffix_hint(suffix: str) -> str | None:
    """What to do about files of a kind of image that cannot be read here; None for other files.

    Example:
        >>> unread_suffix_hint(".psd")
        'convert them to PNG or JPEG'
    """
    if suffix in SUFFIXES:
        return None
    if suffix in _HEIF_SUFFIXES:
        return _INSTALL_HEIF
    if suffix == ".avif":
        return _NEEDS_PILLOW
    if suffix in _UNREAD:
        return "convert them to PNG or JPEG"
    return None


def prepare_decoder(content: bytes) -> None:
    """Let Pillow read HEIC, where the content is that, and refuse what cannot be read here.

    Args:
        content: a file's bytes, or the first of them.

    Raises:
        UnfitImageError: saying what is not installed.
    """
    if content[4:8] != b"ftyp":
        return
    brand = content[8:12]
    if brand in _HEIF_BRANDS:
        if not _HAS_HEIF:
            raise UnfitImageError(_INSTALL_HEIF)
        if "HEIF" not in Image.OPEN:
            importlib.import_module("pillow_heif").register_heif_opener()
    if brand in (b"avif", b"avis") and not _HAS_AVIF:
        raise UnfitImageError(_NEEDS_PILLOW)
