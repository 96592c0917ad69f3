"""Contact sheets: rows of images with captions, as a PNG."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from zoo.utils.files import new_file

TILE = 112  # pixels, the side of the square that an image is fitted into
_GAP = 6
_CAPTION = 30
_LINE_HEIGHT = 13
_PAPER = "white"
_INK = "#222222"
_FRAME = "#c2410c"

Cell = tuple[Image.Image, str]
"""An image and at most two lines of text."""

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_contact_sheet(
    rows: Sequence[Sequence[Cell]], path: str | Path, *, frame_first: bool = True
) -> None:
    """Write a contact sheet.

    Args:
        rows: of cells; one row per query, which comes first.
        path: of the PNG; replaced in one step.
        frame_first: whether the first cell of each row is framed.

    Raises:
        WriteError: if the file cannot be written.
    """
    columns = max(len(cells) for cells in rows)
    width = columns * (TILE + _GAP) + _GAP
    height = len(rows) * (TILE + _CAPTION + _GAP) + _GAP
    page = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(11)
    for i, cells in enumerate(rows):
        top = _GAP + i * (TILE + _CAPTION + _GAP)
        for j, (image, caption) in enumerate(cells):
            left = _GAP + j * (TILE + _GAP)
            _paste_tile(page, image, left, top)
            if j == 0 and frame_first:
                box = (left - 3, top - 3, left + TILE + 2, top + TILE + 2)
                draw.rectangle(box, outline=_FRAME, width=3)
            for k, line in enumerate(caption.split("\n")[:2]):
                position = (left, top + TILE + 3 + _LINE_HEIGHT * k)
                draw.text(position, _shorten(line, font), fill=_INK, font=font)
    with new_file(path) as aside:
        page.save(aside, "PNG")


def _paste_tile(page: Image.Image, image: Image.Image, left: int, top: int) -> None:
    """Fit an image into the tile, in its middle; small ones with their pixels as they are."""
    is_small = max(image.size) < TILE / 2
    method = Image.Resampling.NEAREST if is_small else Image.Resampling.BICUBIC
    tile = ImageOps.contain(image, (TILE, TILE), method)
    page.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))


def _shorten(line: str, font: _Font) -> str:
    """The end of a line that is too long for a tile: of a path it tells the most."""
    if font.getlength(line) <= TILE:
        return line
    while line and font.getlength("…" + line) > TILE:
        line = line[1:]
    return "…" + line
