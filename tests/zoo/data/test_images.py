import io

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as F

from zoo import DataError
from zoo.data.images import LazyImage, read, to_rgb


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
    whole = encoded(
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG"
    )
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


def photograph(width, height):
    """Smooth, with edges and a little grain, as photographs are."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 25, width // 25, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) + rng.normal(
        0, 4, (height, width, 1)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def cut(image, box, size):
    return np.asarray(F.resized_crop(image, *box, [size, size], antialias=True)).astype(int)


@pytest.mark.parametrize("decoder", ["Pillow", "simplejpeg"])
def test_a_box_of_a_jpeg_is_torchvisions_resized_crop(monkeypatch, decoder):
    if decoder == "Pillow":
        monkeypatch.setattr("zoo.data.images.decode_jpeg", None)
    else:
        pytest.importorskip("simplejpeg")
    content = encoded(photograph(500, 375), "JPEG", quality=90)
    np.testing.assert_array_equal(LazyImage(content)._pixels().numpy(), np.asarray(read(content)))
    for box in ([0, 0, 375, 500], [31, 77, 224, 224], [100, 3, 260, 410], [200, 300, 90, 120]):
        off = np.abs(LazyImage(content).crop(box, 224).numpy() - cut(read(content), box, 224))
        assert off.max() <= 2 and off.mean() < 0.2  # of 255: two ways of rounding


def test_a_large_box_is_decoded_at_a_reduced_size():
    image = photograph(1001, 752)
    content = encoded(image, "JPEG", quality=90)
    for size, shrink, box in (
        (112, 2, [10, 20, 700, 950]),
        (62, 4, [200, 100, 500, 601]),
        (37, 8, [101, 203, 600, 790]),
    ):
        opened = LazyImage(content)
        off = np.abs(opened.crop(box, size).numpy() - cut(read(content), box, size))
        assert opened.rgb().width == -(-1001 // shrink)
        assert (
            off.mean() < 2 and np.quantile(off, 0.99) <= 10
        )  # of 255: another filter, and grain it sees otherwise


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("size", [40, 150])
def test_a_box_is_one_of_the_upright_image(orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photograph(400, 300), "JPEG", quality=95, exif=exif)
    opened, upright = LazyImage(content), read(content)
    assert opened.size == upright.size
    box = [60, 90, 180, 190]
    assert np.abs(opened.crop(box, size).numpy() - cut(upright, box, size)).mean() < 1.5


@pytest.mark.parametrize(
    "kind", ["CMYK", "grey", "palette", "alpha", "16 bit", "progressive", "rgb png"]
)
def test_a_box_of_any_kind_of_image_is_that_of_the_whole(kind):
    image = photograph(240, 200)
    content = {
        "CMYK": lambda: encoded(image.convert("CMYK"), "JPEG", quality=95),
        "grey": lambda: encoded(image.convert("L"), "JPEG", quality=95),
        "palette": lambda: encoded(image.convert("P"), "PNG"),
        "alpha": lambda: encoded(Image.merge("RGBA", (*image.split(), image.split()[0])), "PNG"),
        "16 bit": lambda: encoded(
            Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257), "PNG"
        ),
        "progressive": lambda: encoded(image, "JPEG", quality=95, progressive=True),
        "rgb png": lambda: encoded(image, "PNG"),
    }[kind]()
    for size, box in (
        (96, [10, 20, 150, 180]),
        (36, [10, 20, 150, 180]),
    ):  # a JPEG is decoded whole, and at half
        off = np.abs(LazyImage(content).crop(box, size).numpy() - cut(read(content), box, size))
        assert off.mean() < 1.5, kind


@pytest.mark.parametrize("size", [16, 64])
def test_a_box_of_a_truncated_jpeg_names_its_file(tmp_path, size):
    whole = encoded(photograph(100, 100), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    opened = LazyImage(tmp_path / "cut.jpg")
    with pytest.raises(DataError, match=r"cut\.jpg"):
        opened.crop([0, 0, 100, 100], size)
