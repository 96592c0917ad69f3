import base64
import io

import numpy as np
import pytest
from PIL import Image

from downstream.features.store import FeatureStore
from downstream.report.pictures import Album, atlas, data_uri, thumbnail
from zoo.data.sources import open_source


@pytest.fixture
def album(store):
    return Album(FeatureStore.open(store))


def test_a_thumbnail_keeps_the_shape_and_leaves_the_image_alone():
    image = Image.new("RGB", (200, 100))
    assert thumbnail(image, 50).size == (50, 25) and image.size == (200, 100)
    assert thumbnail(image, 300).size == (200, 100)


def test_a_lossless_uri_holds_the_very_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    header, content = data_uri(Image.fromarray(pixels), lossless=True).split(",")
    assert header == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels)


def test_tiles_lie_in_reading_order(album):
    rows = [5, 0, 17, 2, 9]
    sheet, columns = atlas(album, rows, 8)
    assert columns == 2 and sheet.size == (16, 24)
    digits = open_source("digits")
    for position, row in enumerate(rows):
        left, top = position % 2 * 8, position // 2 * 8
        tile = sheet.crop((left, top, left + 8, top + 8))
        image = digits.image(digits.find(album.store.keys[row])).convert("RGB")
        assert tile.tobytes() == image.resize((8, 8), Image.Resampling.BILINEAR).tobytes()
    assert album.faults == {}


def test_images_that_are_gone_are_one_fault_and_no_atlas(album, monkeypatch):
    from zoo import DataError

    def gone(row):
        raise DataError(f"row {row} is gone")

    monkeypatch.setattr(album._pictures, "image", gone)
    assert atlas(album, [3, 4], 8) is None and album.image(5) is None
    assert list(album.faults.values()) == ["row 3 is gone"]
