"""Folders and shards that would wait, or cost, without end."""

import io
import os
import tarfile

import pytest
from PIL import Image

from zoo import DataError
from zoo.data.sources import open_source


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_pipes_and_devices_among_the_images_do_not_wait(tmp_path):
    save(tmp_path / "a" / "0.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.mkfifo(tmp_path / "a" / "pipe")
    os.utime(tmp_path / "a" / "pipe.png", (0, 0))
    (tmp_path / "a" / "zero.png").symlink_to("/dev/zero")
    source = open_source(str(tmp_path))
    bad = 0
    for index in range(len(source)):
        source.fingerprint(index)
        try:
            source.image(index)
        except DataError as error:
            bad += 1
            assert "regular file" in str(error)
    assert bad == len(source) - 1


def test_links_do_not_make_paths_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.sources._left_out._MAX_LINKED", 1000)
    save(tmp_path / "data" / "x.png")
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).symlink_to(tmp_path / str(number + 1))
    save(tmp_path / "20" / "x.png")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "0")
    with pytest.raises(DataError, match="links to folders lead to more than 1,000"):
        open_source(str(tmp_path / "data"))


def test_folders_nested_without_end(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 150)
    save(deep / "x.png")
    with pytest.raises(DataError, match="nested deeper than"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("label", [b"30000000", b"4611686018427387904", b"9" * 30, b"-5", b"\xb2"])
def test_a_large_label_makes_no_large_list_of_classes(tmp_path, label):
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name, content in (("0.png", image.getvalue()), ("0.cls", label)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    try:
        source = open_source(str(tmp_path))
        assert len(source.classes or []) <= 1000
    except DataError as error:
        assert "0.tar" in str(error) or str(tmp_path) in str(error)
