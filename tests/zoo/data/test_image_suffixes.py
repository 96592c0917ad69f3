import pytest

from zoo.data import image_suffixes
from zoo.data.image_files import UnfitImageError
from zoo.data.image_suffixes import SUFFIXES, prepare_decoder, unread_suffix_hint

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
