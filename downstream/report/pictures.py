"""The images behind a store's rows, small, as data URIs."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from downstream.retrieval import Store
from downstream.retrieval.pictures import Pictures
from zoo import DataError

_QUALITY = 75


class Album:
    """A store's images where they are still to be had.

    Attributes:
        faults: a message per data set of which some could not be shown.
    """

    def __init__(self, store: Store) -> None:
        self.store, self._pictures = store, Pictures(store)
        self.faults: dict[str, str] = {}

    def image(self, row: int) -> Image.Image | None:
        """The image of a row as RGB, or None."""
        try:
            return self._pictures.image(row)
        except DataError as error:
            self.faults.setdefault(self.store.part(row).data, str(error))
            return None


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """The image within a square of that many pixels; smaller ones stay as they are."""
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def data_uri(image: Image.Image, *, lossless: bool = False) -> str:
    """As WebP."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, lossless=lossless, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def atlas(album: Album, rows: Sequence[int], side: int) -> tuple[Image.Image, int] | None:
    """Thumbnails of rows as tiles of one image, left to right, top to bottom.

    Returns:
        The image and its tiles per line; None where no image is to be had.
    """
    columns = max(1, round(len(rows) ** 0.5))
    sheet = Image.new("RGB", (columns * side, -(-len(rows) // columns) * side), (128, 128, 128))
    there = False
    for i, row in enumerate(rows):
        if (image := album.image(row)) is not None:
            there = True
            tile = image.resize((side, side), Image.Resampling.BILINEAR)
            sheet.paste(tile, (i % columns * side, i // columns * side))
    return (sheet, columns) if there else None
