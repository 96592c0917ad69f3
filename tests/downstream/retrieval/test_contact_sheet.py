import numpy as np
from PIL import Image, ImageFont

from downstream.retrieval.contact_sheet import (
    _CAPTION,
    _FRAME,
    _GAP,
    TILE,
    _shorten,
    write_contact_sheet,
)


def test_a_small_image_is_enlarged_pixel_by_pixel_and_the_first_of_a_row_is_framed(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    for frame_first in (True, False):
        path = tmp_path / "sheet.png"
        write_contact_sheet([[(image, "a"), (image, "b\nc")]], path, frame_first=frame_first)
        pixels = np.asarray(Image.open(path))
        assert pixels.shape == (TILE + _CAPTION + 2 * _GAP, 2 * (TILE + _GAP) + _GAP, 3)
        for column in range(2):
            left = _GAP + column * (TILE + _GAP)
            tile = pixels[_GAP : _GAP + TILE, left : left + TILE]
            assert np.array_equal(tile[3::7, 3::7], np.asarray(image))
        frame = tuple(int(_FRAME[i : i + 2], 16) for i in (1, 3, 5))
        assert (tuple(pixels[_GAP - 2, _GAP + 50]) == frame) == frame_first


def test_a_long_caption_keeps_its_end():
    font = ImageFont.load_default(11)
    assert _shorten("short.png", font) == "short.png"
    shortened = _shorten("a/very/long/path/of/many/folders/to/image.png", font)
    assert shortened.startswith("…") and shortened.endswith("image.png")
    assert font.getlength(shortened) <= TILE
