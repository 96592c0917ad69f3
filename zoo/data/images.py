"""Reading any image file as 8-bit RGB, the same way everywhere, whole or cut to a box."""

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from zoo.data.image_files import UnfitImageError, open_image, read_bytes, tiff_bands
from zoo.data.image_suffixes import SUFFIXES, prepare_decoder
from zoo.errors import DataError

__all__ = ["SUFFIXES", "LazyImage", "decode_jpeg", "read", "to_rgb"]

# simplejpeg decodes to the same pixels as Pillow, with the same library but without its detour
# over four bytes a pixel.
decode_jpeg: Callable[[bytes], np.ndarray] | None
try:
    decode_jpeg = importlib.import_module("simplejpeg").decode_jpeg
except ImportError:
    decode_jpeg = None

_GAP = 2  # how much finer than the output a JPEG is decoded, at least; as in Pillow's thumbnail()
_BAND = 1 << 20  # pixels that are converted at once
_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_ORIENTATIONS_ON_THE_SIDE = (5, 6, 7, 8)  # of EXIF: width and height change places
BACKGROUND = (255, 255, 255)  # under transparent pixels; fixed, so that hidden colour never shows


def to_rgb(image: Image.Image, value_range: tuple[float, float] | None = None) -> Image.Image:
    """Convert any Pillow mode to 8-bit RGB without saturating, and compose transparency on white.

    Args:
        image: of any mode.
        value_range: what is black and white in images of more than 8 bits; values beyond are cut
            off. By default 0 and 65 535, or 0 and 1 for floating point.

    Raises:
        ValueError: for values that have no 8-bit meaning (floating point outside 0–1, integers
            above 16 bits).
    """
    image.load()
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    rgb = Image.new("RGB", image.size)
    rows = max(1, _BAND // max(1, image.width))
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb.paste(_band_to_rgb(band, value_range), (0, top))
    return rgb


def _band_to_rgb(image: Image.Image, value_range: tuple[float, float] | None) -> Image.Image:
    """Convert some rows: whole images would take several times their size on the way."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_grey(image, value_range)
    if image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(behind, image)
    return image.convert("RGB")


def _to_grey(image: Image.Image, value_range: tuple[float, float] | None) -> Image.Image:
    """Rescale 16-bit integers, or floating point, to 8 bits."""
    values = np.asarray(image).astype(np.float64)
    if value_range is not None:
        low, high = value_range
        if not np.isfinite(values).all():
            raise ValueError("some values are no finite numbers")
        scaled = ((values - low) * (255 / (high - low))).clip(0, 255)
        return Image.fromarray(np.round(scaled).astype(np.uint8))
    top = 1.0 if image.mode == "F" else 65535.0
    if values.size:
        in_range = values.min() >= 0 and values.max() <= top
        if not in_range or not np.isfinite(values).all():
            raise ValueError(
                f"values of mode {image.mode} must lie in [0, {top:g}]; a file value_range.txt in "
                "the data's folder may name another range"
            )
    return Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises into one DataError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name}: refused as a decompression bomb ({error}); "
            "resize the image if it is a real one"
        ) from error
    except UnfitImageError as error:
        raise DataError(
            f"{name}: refused as an image, for {error}; replace or remove it"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"{name}: not there, or a link to a file that is not; bring it back, or skip bad images"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not an image file that can be read; remove or convert it"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{name}: cannot be decoded ({error}); replace it, or skip bad images"
        ) from error


def _open(content: bytes) -> Image.Image:
    """Open a file's content.

    Raises:
        ValueError: for a TIFF of bands that make no picture, saying which it has.
    """
    try:
        return open_image(content)
    except UnidentifiedImageError:
        bands = tiff_bands(content)
        if bands is None:
            raise
        raise ValueError(
            f"a TIFF of {bands}, which Pillow does not read; write three bands of it as RGB"
        ) from None


class LazyImage:
    """An image whose size is known.

    A JPEG is decoded only when its pixels are asked for, and no finer than needed.

    Attributes:
        name: what it is called in messages.
        size: width and height of the upright image, pixels.
    """

    def __init__(
        self,
        source: str | Path | bytes | Image.Image,
        name: str | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        """
        Args:
            source: a path, the file's bytes, or an image of :func:`to_rgb`.
            name: what to call it in messages; the path by default.
            value_range: see :func:`to_rgb`.

        Raises:
            DataError: if the file is missing, no image, or a decompression bomb; it names the file.
        """
        default_name = f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
        self.name = name or default_name
        self._value_range = value_range
        self._rgb: Image.Image | None = None
        self._is_jpeg = False
        self._is_upright = False
        if isinstance(source, Image.Image):
            self._rgb = source
            self.size = source.size
            return
        with _named_errors(self.name):
            self._bytes = source if isinstance(source, bytes) else read_bytes(source)
            prepare_decoder(self._bytes)
            self._image = _open(self._bytes)
            self._is_jpeg = self._image.format == "JPEG"
            if not self._is_jpeg:  # the header of other formats may keep the orientation back
                self.size = self.rgb().size
                return
            orientation = self._image.getexif().get(ExifTags.Base.Orientation, 1)
            width, height = self._image.size
            on_the_side = orientation in _ORIENTATIONS_ON_THE_SIDE
            self.size = (height, width) if on_the_side else (width, height)
            self._is_upright = orientation == 1

    def rgb(self) -> Image.Image:
        """The whole image, upright, 8-bit RGB.

        Raises:
            DataError: if it is truncated or its values have no 8-bit meaning.
        """
        if self._rgb is None:
            with _named_errors(self.name):
                self._image.load()
                self._rgb = to_rgb(ImageOps.exif_transpose(self._image), self._value_range)
        return self._rgb

    def crop(self, box: Sequence[int], size: int) -> Tensor:
        """Cut a box and resize it, as torchvision's ``resized_crop`` does (antialiased, bilinear).

        A JPEG is decoded at half, a quarter or an eighth of its size where the box still has twice
        the pixels each way that the output needs; nearer to it the decoder's own filter shows.

        Args:
            box: top, left, height, width of the upright image.
            size: side of the output.

        Returns:
            size×size×3 uint8.

        Raises:
            DataError: as :meth:`rgb`.
        """
        top, left, height, width = box
        shrink = self._shrink(min(height, width) // (_GAP * size))
        if shrink > 1:
            self._image.draft(None, (self._image.width // shrink, self._image.height // shrink))
            right = left + width
            bottom = top + height
            corners = (left / shrink, top / shrink, right / shrink, bottom / shrink)
            resized = self.rgb().resize((size, size), Image.Resampling.BILINEAR, corners)
            return torch.from_numpy(np.array(resized))
        pixels = self._pixels()[top : top + height, left : left + width].permute(2, 0, 1)[None]
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        output = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        return output[0].permute(1, 2, 0)

    def _shrink(self, most: int) -> int:
        """How many times smaller to decode.

        The last pixels of a file may stand for less than a whole one; that moves nothing unless it
        is turned or mirrored.
        """
        if not self._is_jpeg or self._rgb is not None:
            return 1
        width, height = self._image.size
        for shrink in (8, 4, 2):
            divides = width % shrink == 0 and height % shrink == 0
            if shrink <= most and (self._is_upright or divides):
                return shrink
        return 1

    def _pixels(self) -> Tensor:
        """H×W×3 uint8."""
        is_plain = self._is_upright and self._rgb is None and self._image.mode == "RGB"
        if is_plain and decode_jpeg is not None:
            try:
                return torch.from_numpy(decode_jpeg(self._bytes))
            except ValueError:  # Pillow reads it, or says what is wrong
                pass
        return torch.from_numpy(np.array(self.rgb()))


def read(source: str | Path | bytes, name: str | None = None) -> Image.Image:
    """Read an image file: fully decoded, upright (EXIF), 8-bit RGB.

    16-bit images are rescaled, alpha is composed on white, CMYK, palette and grey become RGB.

    Args:
        source: a path, or the file's bytes.
        name: what to call it in messages; the path by default.

    Raises:
        DataError: if the file is missing, no image, truncated, or a decompression bomb; it names
            the file.
    """
    return LazyImage(source, name).rgb()
