"""Whether the pixels of a data set are still the same."""

import io
import os
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from zoo.data import content
from zoo.data.content import content_digest, content_hashes
from zoo.data.sources import Subset, open_source


def write_bmp(path, seed):
    """A file whose size does not depend on its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path, "BMP")


def folder(root, seed):
    for number in range(3):
        write_bmp(root / f"{number}.bmp", seed + number)


def shards(root, seed):
    root.mkdir(exist_ok=True)
    with tarfile.open(root / "train-0.tar", "w") as archive:
        for number in range(3):
            write_bmp(root / "image", seed + number)
            archive.add(root / "image", f"{number}.bmp")
    (root / "image").unlink()


def parquet(root, seed):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    root.mkdir(exist_ok=True)
    images = []
    for number in range(3):
        buffer = io.BytesIO()
        pixels = np.full((8, 8, 3), seed + number, np.uint8)
        Image.fromarray(pixels).save(buffer, "BMP")
        images.append(buffer.getvalue())
    table = pa.table({"image": images})
    pq.write_table(table, root / "train.parquet", compression="none", use_dictionary=False)


@pytest.mark.parametrize("write", [folder, shards, parquet])
def test_other_pixels_of_equal_size_are_noticed_and_a_copy_is_the_same(tmp_path, write):
    data = tmp_path / "data"
    write(data, 0)
    source = open_source(str(data))
    portable, local, contents = source.digest, source.local_digest, content_digest(source)
    assert open_source(str(data)).local_digest == local
    part = np.array([1])
    local_of_part = Subset(source, part).local_digest
    shutil.copytree(data, tmp_path / "copy")
    copy = open_source(str(tmp_path / "copy"))
    assert copy.digest == portable and content_digest(copy) == contents
    times = {path: path.stat() for path in data.iterdir()}
    write(data, 100)
    for path, status in times.items():
        assert path.stat().st_size == status.st_size
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as some tools set it back
    changed = open_source(str(data))
    assert changed.digest == portable, "names and sizes are the same"
    assert changed.local_digest != local and content_digest(changed) != contents
    assert Subset(changed, part).local_digest != local_of_part


def test_bytes_are_read_once_while_their_files_stay_as_they_are(tmp_path, monkeypatch):
    folder(tmp_path / "data", 0)
    first = content_hashes(open_source(str(tmp_path / "data")))
    read = []
    source = open_source(str(tmp_path / "data"))
    monkeypatch.setattr(source, "encoded", lambda index: read.append(index) or b"new")
    assert content_hashes(source).tolist() == first.tolist() and read == []
    write_bmp(tmp_path / "data" / "1.bmp", 9)
    again = content_hashes(source)
    assert read == [1] and (again != first).tolist() == [False, True, False]


def test_an_image_that_is_not_there_has_no_hash_and_a_damaged_cache_is_passed_over(tmp_path):
    folder(tmp_path / "data", 0)
    source = open_source(str(tmp_path / "data"))
    first = content_hashes(source)
    (tmp_path / "data" / "0.bmp").unlink()
    content._cache_file(source).write_bytes(b"damaged")
    assert content_hashes(source).tolist() == [0, *first[1:].tolist()]


def test_whole_seconds_are_not_trusted(tmp_path, monkeypatch):
    """A file system that keeps no finer times."""
    from zoo.data.sources import _files

    path = tmp_path / "a.bmp"
    monkeypatch.setattr(_files, "_SECOND", 1)
    write_bmp(path, 0)
    before = _files.file_state(path)
    assert _files.file_state(path) == before and len(before.split()) == 4
    write_bmp(path, 1)
    assert _files.file_state(path).split()[-1] != before.split()[-1]
    assert _files.file_state(tmp_path / "nowhere") == "absent"
