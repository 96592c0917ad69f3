"""The images behind a store's rows, small, as data URIs."""

import base64
import io
import math
from collections.abc import Sequence

from PIL import Image

from downstream.retrieval import FeatureStore
from downstream.retrieval.images import StoredImages
from zoo import DataError

_QUALITY = 75


class Album:
    """A store's images where they can still be read.

    Attributes:
        store: the store.
        faults: a message for each data set of which some could not be shown.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.faults: dict[str, str] = {}
        self._pictures = StoredImages(store)

    def image(self, row: int) -> Image.Image | None:
        """Read the image of a row as RGB; None where it cannot be read any more."""
        try:
            return self._pictures.image(row)
        except DataError as error:
            self.faults.setdefault(self.store.part(row).data, str(error))
            return None


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """Shrink an image to a square of ``side`` pixels; smaller ones stay as they are."""
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def data_uri(image: Image.Image, *, lossless: bool = False) -> str:
    """Encode an image as WebP in a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, lossless=lossless, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def atlas(album: Album, rows: Sequence[int], side: int) -> tuple[Image.Image, int] | None:
    """Set thumbnails of rows as tiles of one image, left to right, top to bottom.

    Args:
        album: the images.
        rows: whose thumbnails.
        side: of a tile in pixels.

    Returns:
        The image and its tiles in a line; None where no image can be read.
    """
    num_columns = max(1, round(len(rows) ** 0.5))
    num_lines = math.ceil(len(rows) / num_columns)
    sheet = Image.new("RGB", (num_columns * side, num_lines * side), (128, 128, 128))
    is_empty = True
    for position, row in enumerate(rows):
        image = album.image(row)
        if image is None:
            continue
        is_empty = False
        line, column = divmod(position, num_columns)
        tile = image.resize((side, side), Image.Resampling.BILINEAR)
        sheet.paste(tile, (column * side, line * side))
    return None if is_empty else (sheet, num_columns)
