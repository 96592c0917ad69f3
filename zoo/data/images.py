"""Reading any image file as 8-bit RGB, the same way everywhere, whole or cut to a box."""

import importlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from zoo.errors import DataError

try:  # decodes to the same pixels as Pillow, with the same library but without its detour over four bytes a pixel
    decode_jpeg = importlib.import_module("simplejpeg").decode_jpeg
except ImportError:
    decode_jpeg = None

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_GAP = 2  # as in Pillow's thumbnail()
BACKGROUND = (255, 255, 255)  # under transparent pixels; fixed, so that hidden colour never shows


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to 8-bit RGB without saturating, and compose transparency on white.

    Raises:
        ValueError: for values that have no 8-bit meaning (floating point outside 0–1, integers above 16 bits).
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        top = 1.0 if image.mode == "F" else 65535.0
        if values.size and (
            values.min() < 0 or values.max() > top or not np.isfinite(values).all()
        ):
            raise ValueError(f"values of mode {image.mode} must lie in [0, {top:g}]")
        image = Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(behind, image)
    return image.convert("RGB")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns whatever Pillow raises into one DataError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name}: refused as a decompression bomb ({error}); resize the image if it is a real one"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not an image file that can be read; remove or convert it"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{name}: cannot be decoded ({error}); replace it, or skip bad images"
        ) from error


class LazyImage:
    """An image whose size is known; a JPEG is decoded only when its pixels are asked for, and no finer than needed.

    Attributes:
        size: width and height of the upright image, pixels.
    """

    def __init__(self, source: str | Path | bytes | Image.Image, name: str | None = None) -> None:
        """
        Args:
            source: a path, the file's bytes, or an image of :func:`to_rgb`.
            name: what to call it in messages; the path by default.

        Raises:
            DataError: if the file is missing, no image, or a decompression bomb; it names the file.
        """
        self.name = name or (f"{len(source)} bytes" if isinstance(source, bytes) else str(source))
        self._rgb = source if isinstance(source, Image.Image) else None
        self._jpeg = self._upright = False
        if isinstance(source, Image.Image):
            self.size = source.size
            return
        with _named(self.name):
            self._bytes = source if isinstance(source, bytes) else Path(source).read_bytes()
            self._image = Image.open(io.BytesIO(self._bytes))
            self._jpeg = self._image.format == "JPEG"
            if not self._jpeg:  # the header of other formats may keep the orientation back
                self.size = self.rgb().size
                return
            turn = self._image.getexif().get(ExifTags.Base.Orientation, 1)
            width, height = self._image.size
            self.size = (height, width) if turn in (5, 6, 7, 8) else (width, height)
            self._upright = turn == 1

    def rgb(self) -> Image.Image:
        """The whole image, upright, 8-bit RGB.

        Raises:
            DataError: if it is truncated or its values have no 8-bit meaning.
        """
        if self._rgb is None:
            with _named(self.name):
                self._image.load()
                self._rgb = to_rgb(ImageOps.exif_transpose(self._image))
        return self._rgb

    def crop(self, box: Sequence[int], size: int) -> Tensor:
        """Cut a box and resize it, as torchvision's ``resized_crop`` does (antialiased, bilinear).

        A JPEG is decoded at half, a quarter or an eighth of its size where the box still has twice the pixels each way
        that the output needs; nearer to it the decoder's own filter shows.

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
            corners = (
                left / shrink,
                top / shrink,
                (left + width) / shrink,
                (top + height) / shrink,
            )
            return torch.from_numpy(
                np.array(self.rgb().resize((size, size), Image.Resampling.BILINEAR, corners))
            )
        pixels = self._pixels()[top : top + height, left : left + width].permute(2, 0, 1)[None]
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0].permute(
            1, 2, 0
        )

    def _shrink(self, most: int) -> int:
        """How many times smaller to decode. The last pixels of a file may stand for less than a whole one; that moves
        nothing unless it is turned or mirrored.
        """
        if not self._jpeg or self._rgb is not None:
            return 1
        sides = self._image.size
        return next(
            s
            for s in (8, 4, 2, 1)
            if s <= max(most, 1) and (self._upright or not any(n % s for n in sides))
        )

    def _pixels(self) -> Tensor:
        """H×W×3 uint8."""
        if (
            decode_jpeg is not None
            and self._rgb is None
            and self._upright
            and self._image.mode == "RGB"
        ):
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
        DataError: if the file is missing, no image, truncated, or a decompression bomb; it names the file.
    """
    return LazyImage(source, name).rgb()
