"""Which files are taken for images: regular ones, of known formats, of sizes that can be held."""

import io
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.data.image_files import FORMATS, open_image
from zoo.data.images import LazyImage, read, to_rgb


def encoded(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000"])
def test_known_formats_are_read(kind):
    assert read(encoded(Image.new("RGB", (8, 8)), kind)).size == (8, 8)


def other_formats():
    Image.init()
    return sorted(set(Image.SAVE) & set(Image.OPEN) - set(FORMATS))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", other_formats())
def test_no_other_format_is_tried_whatever_its_name(tmp_path, kind):
    path = tmp_path / "x.jpg"
    for mode in ("RGB", "L", "1", "P"):
        try:
            path.write_bytes(encoded(Image.new(mode, (16, 16)), kind))
        except (OSError, ValueError, KeyError):
            continue
        break
    else:
        pytest.skip("Pillow writes none here")
    try:
        image = open_image(path.read_bytes())
    except OSError:
        with pytest.raises(DataError, match=r"x\.jpg: not an image file that can be read"):
            read(path)
    else:
        assert image.format in FORMATS  # as an icon may be a PNG


def test_eps_starts_no_other_program(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    monkeypatch.setattr("subprocess.check_call", None)
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="not an image file that can be read"):
        read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "zero.png", "folder.png"):
        with pytest.raises(DataError, match=rf"{name}.*(regular file|a directory)"):
            read(tmp_path / name)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "sparse.png"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="at most"):
        read(path)


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000), (20_100, 100)])
def test_a_line_is_no_image(size):
    with pytest.raises(DataError, match="no side longer than 200 times"):
        LazyImage(encoded(Image.new("L", size), "PNG"), "x.png")
    assert read(encoded(Image.new("L", (2000, 10)), "PNG")).size == (2000, 10)


@pytest.mark.parametrize("mode", ["L", "I;16", "F", "RGBA", "LA", "P", "CMYK", "1", "I"])
def test_bands_make_the_same_image_as_the_whole(mode, monkeypatch):
    draw = np.random.default_rng(0)
    values = draw.integers(0, 256, (37, 23, 4), np.uint8)
    if mode in ("I;16", "I"):
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
        image = image.convert(mode) if mode == "I" else image
    elif mode == "F":
        image = Image.fromarray(values[..., 0].astype(np.float32) / 255)
    else:
        image = Image.fromarray(values, "RGBA" if mode != "CMYK" else mode).convert(mode)
        if mode == "P":
            image.info["transparency"] = 3
    whole = np.asarray(to_rgb(image))
    monkeypatch.setattr("zoo.data.images._BAND", 100)
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), whole)


def test_a_16_bit_image_takes_little_more_than_itself():
    content = encoded(Image.fromarray(np.zeros((3000, 4000), np.uint16)), "PNG")
    tracemalloc.start()
    read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # numpy's; the whole in double precision would be 96 MB and more
