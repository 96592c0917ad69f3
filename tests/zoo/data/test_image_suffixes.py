import numpy as np
import pytest
from PIL import Image, features

from zoo import DataError
from zoo.data import image_suffixes
from zoo.data.image_files import UnfitImageError
from zoo.data.image_suffixes import SUFFIXES, prepare_decoder, unread_suffix_hint
from zoo.data.images import read
from zoo.data.sources import open_source

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0"
AVIF = b"\0\0\0\x18ftypavif\0\0\0\0"


def test_a_kind_is_read_or_has_a_hint_and_other_files_have_none():
    for suffix in (".jpg", ".png", ".heic", ".avif", ".psd", ".svg", ".nef"):
        assert (suffix in SUFFIXES) == (unread_suffix_hint(suffix) is None)
    assert unread_suffix_hint(".txt") is None and unread_suffix_hint("") is None


def test_what_needs_a_package_is_read_where_it_is_installed(monkeypatch):
    for installed in (True, False):
        monkeypatch.setattr(image_suffixes, "_HAS_HEIF", installed)
        monkeypatch.setattr(image_suffixes, "_HAS_AVIF", installed)
        suffixes = image_suffixes._read_suffixes()
        assert {".jpg", ".webp"} <= suffixes
        assert (".heic" in suffixes) == (".avif" in suffixes) == installed
    monkeypatch.setattr(image_suffixes, "SUFFIXES", suffixes)
    assert "pip install 'npid-zoo[heic]'" in unread_suffix_hint(".heif")
    assert "pip install -U pillow" in unread_suffix_hint(".avif")


@pytest.mark.parametrize(("content", "message"), [(HEIC, "pillow-heif"), (AVIF, "Pillow 11.3")])
def test_content_that_cannot_be_read_here_says_what_to_install(monkeypatch, content, message):
    monkeypatch.setattr(image_suffixes, "_HAS_HEIF", False)
    monkeypatch.setattr(image_suffixes, "_HAS_AVIF", False)
    with pytest.raises(UnfitImageError, match=message):
        prepare_decoder(content)
    prepare_decoder(b"\xff\xd8\xff plain JPEG")
    prepare_decoder(b"")


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_avif_is_read(tmp_path):
    Image.new("RGB", (16, 16), (200, 0, 0)).save(tmp_path / "a.avif")
    source = open_source(str(tmp_path))
    assert np.abs(np.asarray(source.image(0))[8, 8].astype(int) - (200, 0, 0)).max() < 20


@pytest.mark.parametrize("ending", ["jfif", "jpe", "apng", "tga", "jp2", "pbm"])
def test_less_common_endings_are_read(tmp_path, ending):
    kind = {"jfif": "JPEG", "jpe": "JPEG", "apng": "PNG", "tga": "TGA", "jp2": "JPEG2000"}
    image = Image.new("1" if ending == "pbm" else "RGB", (16, 16))
    image.save(tmp_path / f"A.{ending.upper()}", kind.get(ending, "PPM"))
    assert open_source(str(tmp_path)).image(0).size == (16, 16)


def test_a_folder_of_what_cannot_be_read_here_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(image_suffixes, "_HAS_HEIF", False)
    with pytest.raises(DataError, match=r"IMG_1\.HEIC: .*pip install 'npid-zoo\[heic\]'"):
        read(HEIC, "IMG_1.HEIC")
    if ".heic" in SUFFIXES:
        return
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC)
    with pytest.raises(DataError, match=r"1 \.heic image is left out: reading HEIC needs pillow"):
        open_source(str(tmp_path))
