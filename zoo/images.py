"""Reading any image file as 8-bit RGB, the same way everywhere."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zoo.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
BACKGROUND = (255, 255, 255)  # under transparent pixels; fixed, so that hidden colour never shows


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to 8-bit RGB without saturating, and compose transparency on white.

    Raises:
        ValueError: for values that have no 8-bit meaning (floating point outside 0–1, integers above 16 bits).
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        top = 1.0 if image.mode == "F" else 65535.0
        if values.size and (values.min() < 0 or values.max() > top or not np.isfinite(values).all()):
            raise ValueError(f"values of mode {image.mode} must lie in [0, {top:g}]")
        image = Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(behind, image)
    return image.convert("RGB")


def read(source: str | Path | bytes, name: str | None = None) -> Image.Image:
    """Read an image file: fully decoded, upright (EXIF), 8-bit RGB.

    16-bit images are rescaled, alpha is composed on white, CMYK, palette and grey become RGB.

    Args:
        source: a path, or the file's bytes.
        name: what to call it in messages; the path by default.

    Raises:
        DataError: if the file is missing, no image, truncated, or a decompression bomb; it names the file.
    """
    name = name or (f"{len(source)} bytes" if isinstance(source, bytes) else str(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name}: refused as a decompression bomb ({error}); resize the image if it is a real one"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not an image file that can be read; remove or convert it") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{name}: cannot be decoded ({error}); replace it, or skip bad images") from error
