"""Images of more than 8 bits: which of their values are black and white.

By default 0 is black and 65 535 white. A camera of 12 bits, or an X-ray, fills only a part of
that; the file ``value_range.txt`` in a data set's folder, which holds two numbers such as
``0 4095``, says what is black and white in all images of the set. It holds for every command.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.data.image_files import open_image
from zoo.data.source import Source
from zoo.errors import DataError

FILE = "value_range.txt"
_LOOKED_AT = 8  # images
_LARGEST = 65535
_MOSTLY_UNUSED = _LARGEST / 4


def read_value_range(data: str) -> tuple[float, float] | None:
    """The values of black and white that a data set's folder names; None where it names none.

    Raises:
        DataError: if the file does not hold two rising numbers.
    """
    path = Path(data) / FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    try:
        low, high = (float(word) for word in text.replace(",", " ").split())
    except ValueError:
        low, high = math.nan, math.nan
    if not -math.inf < low < high < math.inf:
        raise DataError(
            f"{path}: expected two rising numbers, as 0 {_LARGEST}, found {text.strip()!r}"
        )
    return low, high


def unused_range_note(source: Source) -> list[str]:
    """A line where the first 16-bit images of a source use a small part of their range."""
    largest = -1
    count = 0
    for index in range(min(len(source), _LOOKED_AT)):
        value = _largest_value(source.encoded(index))
        if value is not None:
            largest = max(largest, value)
            count += 1
    if not 0 < largest < _MOSTLY_UNUSED:
        return []
    return [
        f"16-bit images have no value above {largest} of {_LARGEST} (in the first {count}) and so "
        f"are dark; if that is not meant, name their range in a file {FILE}, as 0 {_top(largest)}"
    ]


def _top(largest: int) -> int:
    """The largest number of as many bits."""
    return (1 << largest.bit_length()) - 1


def _largest_value(content: bytes | None) -> int | None:
    """The largest value of a 16-bit grey image; None for other files."""
    if content is None:
        return None
    try:
        image = open_image(content)
        if not image.mode.startswith("I"):
            return None
        return int(np.asarray(image).max())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # reading it says what is wrong
