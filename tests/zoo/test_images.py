import io

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.images import read, to_rgb


def encoded(image, kind, **more):
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.fixture
def ramp():
    return np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB", "1"])
def test_every_mode_becomes_rgb(ramp, mode):
    image = Image.fromarray(ramp).convert("RGB").convert(mode)
    out = read(encoded(image, "TIFF"))
    assert out.mode == "RGB" and out.size == (8, 8)
    np.testing.assert_allclose(np.asarray(out), np.asarray(image.convert("RGB")), atol=1)


def test_16_bits_are_rescaled_and_not_saturated(ramp):
    wide = ramp.astype(np.uint16) * 257
    out = np.asarray(read(encoded(Image.fromarray(wide), "PNG")))
    np.testing.assert_array_equal(out[..., 0], ramp)


def test_alpha_is_composed_on_white():
    hidden = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert np.asarray(read(encoded(hidden, "PNG"))).min() == 255
    red = Image.new("P", (4, 4), 1)
    red.putpalette([0, 0, 0, 255, 0, 0])
    red.info["transparency"] = 1
    assert np.asarray(read(encoded(red, "PNG", transparency=1))).min() == 255
    half = np.asarray(to_rgb(Image.new("LA", (1, 1), (0, 128))))
    assert abs(int(half[0, 0, 0]) - 127) <= 1


def test_exif_orientation_is_honoured(ramp):
    image = Image.fromarray(ramp[:4])
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(encoded(image.convert("RGB"), "JPEG", exif=exif)).size == (4, 8)


def test_a_truncated_image_names_its_file(tmp_path):
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    Image.open(path).verify()
    with pytest.raises(DataError, match=r"cut\.jpg"):
        read(path)


def test_what_is_no_image_or_missing_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"a\.jpg: not an image"):
        read(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"b\.jpg"):
        read(tmp_path / "b.jpg")


@pytest.mark.parametrize("side", [120, 160])
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, side):
    """Pillow only warns between one and two times the limit; we refuse there too."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    Image.new("L", (side, side)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb\.png.*bomb"):
        read(tmp_path / "bomb.png")
