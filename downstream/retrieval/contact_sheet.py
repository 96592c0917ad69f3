"""Contact sheets: rows of pictures with captions, as a PNG."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from zoo.utils.files import new_file

TILE, _GAP, _CAPTION = 112, 6, 30
_PAPER, _INK, _FRAME = "white", "#222222", "#c2410c"

Cell = tuple[Image.Image, str]  # a picture and at most two lines of text


def sheet(rows: Sequence[Sequence[Cell]], path: str | Path, *, frame_first: bool = True) -> None:
    """Write a contact sheet.

    Args:
        rows: of cells; one row per query, which comes first.
        path: of the PNG; replaced in one step.
        frame_first: whether the first cell of each row is framed.
    """
    width = max(map(len, rows)) * (TILE + _GAP) + _GAP
    page = Image.new("RGB", (width, len(rows) * (TILE + _CAPTION + _GAP) + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for i, cells in enumerate(rows):
        for j, (picture, caption) in enumerate(cells):
            left, top = _GAP + j * (TILE + _GAP), _GAP + i * (TILE + _CAPTION + _GAP)
            method = (
                Image.Resampling.NEAREST
                if max(picture.size) < TILE / 2
                else Image.Resampling.BICUBIC
            )
            tile = ImageOps.contain(picture, (TILE, TILE), method)
            page.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
            if j == 0 and frame_first:
                draw.rectangle(
                    (left - 3, top - 3, left + TILE + 2, top + TILE + 2), outline=_FRAME, width=3
                )
            for k, line in enumerate(caption.split("\n")[:2]):
                draw.text((left, top + TILE + 3 + 13 * k), _fit(line, font), fill=_INK, font=font)
    with new_file(path) as aside:
        page.save(aside, "PNG")


def _fit(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of a line that is too long for a tile: of a path it tells the most."""
    if font.getlength(line) <= TILE:
        return line
    while line and font.getlength("…" + line) > TILE:
        line = line[1:]
    return "…" + line
