"""Images of more than 8 bits."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.data.content import content_digest
from zoo.data.images import read
from zoo.data.sources import open_source
from zoo.data.value_range import FILE


def write(folder, top, ending="png"):
    folder.mkdir(exist_ok=True)
    values = np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(values).save(folder / f"a.{ending}")


def test_the_full_range_of_16_bits_is_taken_as_it_is(tmp_path):
    write(tmp_path, 65535)
    source = open_source(str(tmp_path))
    pixels = np.asarray(source.image(0))
    assert pixels.min() == 0 and pixels.max() == 255 and source.notes == []


@pytest.mark.parametrize(("bits", "ending"), [(12, "png"), (10, "tif"), (14, "pgm")])
def test_a_part_of_the_range_is_said_and_can_be_named(tmp_path, bits, ending):
    top = 2**bits - 1
    write(tmp_path, top, ending)
    source = open_source(str(tmp_path))
    expected = f"16-bit images have no value above {top} of 65535 .* as 0 {top}"
    if bits < 14:
        assert np.asarray(source.image(0)).max() <= 16
    [note] = source.notes
    assert re.match(expected, note)
    before = source.local_digest, content_digest(source)
    (tmp_path / FILE).write_text(f"0, {top}\n")
    source = open_source(str(tmp_path))
    pixels = np.asarray(source.image(0))
    assert pixels.min() == 0 and pixels.max() == 255 and source.notes == []
    assert source.local_digest != before[0] and content_digest(source) != before[1]


def test_values_beyond_the_range_are_cut_off_and_floats_may_have_one(tmp_path):
    values = np.array([[-2000.0, -1000.0, 0.0, 1000.0, 3000.0]] * 5, np.float32)
    Image.fromarray(values).save(tmp_path / "ct.tif")
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]; a file value_range\.txt"):
        open_source(str(tmp_path)).image(0)
    (tmp_path / FILE).write_text("-1000 1000")
    image = open_source(str(tmp_path)).image(0)
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("text", ["", "5", "4095 0", "0 nan", "0 inf", "a b", "1 2 3"])
def test_a_range_that_is_none_is_named(tmp_path, text):
    write(tmp_path, 4095)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DataError, match=r"value_range\.txt: expected two rising numbers"):
        open_source(str(tmp_path))


def png16(values):
    """A PNG of 16-bit RGB, which Pillow reads and does not write."""
    import struct
    import zlib

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_16_bit_rgb_is_rescaled():
    values = np.zeros((4, 4, 3), np.uint16)
    values[..., 0] = 65535
    values[..., 1] = 32768
    assert np.asarray(read(png16(values)))[0, 0].tolist() == [255, 128, 0]


def tiff(bands, bits):
    """A TIFF of many bands, uncompressed."""
    import struct

    entries = [
        (256, 3, 1, 4),
        (257, 3, 1, 4),
        (258, 3, bands, 200),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 300),
        (277, 3, 1, bands),
        (278, 3, 1, 4),
        (279, 4, 1, 16 * bands * bits // 8),
    ]
    content = io.BytesIO()
    content.write(b"II*\0" + struct.pack("<IH", 8, len(entries)))
    for tag, kind, count, value in entries:
        packed = (
            struct.pack("<HH", value, 0) if kind == 3 and count == 1 else struct.pack("<I", value)
        )
        content.write(struct.pack("<HHI", tag, kind, count) + packed)
    content.write(struct.pack("<I", 0).ljust(200 - content.tell(), b"\0"))
    content.write(struct.pack(f"<{bands}H", *[bits] * bands).ljust(100, b"\0"))
    content.write(bytes(16 * bands * bits // 8))
    return content.getvalue()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_of_many_bands_is_named_as_such(bits):
    with pytest.raises(DataError, match=f"a TIFF of 7 bands of {bits} bits, which Pillow does not"):
        read(tiff(7, bits), "landsat.tif")
