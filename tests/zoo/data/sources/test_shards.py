"""WebDataset shards."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.data.sources import open_source


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path, members, mode="w"):
    with tarfile.open(path, mode) as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))


def test_images_and_classes_come_in_the_order_of_shard_and_path(tmp_path):
    shard(tmp_path / "train-1.tar", [("z.png", png(30)), ("z.cls", b"2")])
    shard(
        tmp_path / "train-0.tar",
        [("b.png", png(20)), ("b.cls", b"0\n"), ("d/a.v2.png", png(10)), ("d/a.cls", b"1")],
    )
    shard(tmp_path / "val-0.tar", [("x.png", png(1)), ("x.json", b"{}")])
    source = open_source(str(tmp_path))
    assert [source.key(i) for i in range(3)] == [
        "train-0.tar/b",
        "train-0.tar/d/a.v2",
        "train-1.tar/z",
    ]
    assert source.array()[:, 0, 0, 0].tolist() == [20, 10, 30]
    assert source.labels.tolist() == [0, 1, 2] and source.classes == ["0", "1", "2"]
    test = open_source(str(tmp_path), "test")
    assert len(test) == 1 and test.labels is None


def test_shards_of_no_split_train_and_the_digest_follows_their_content(tmp_path):
    shard(tmp_path / "photos.tar", [("a.png", png(1))])
    before = open_source(str(tmp_path)).digest
    with pytest.raises(
        DataError, match=r"no test split; expected shards like test-000000\.tar, found photos\.tar"
    ):
        open_source(str(tmp_path), "test")
    shard(tmp_path / "photos.tar", [("b.png", png(1))])
    assert open_source(str(tmp_path)).digest != before


def test_a_broken_shard_label_or_image_is_named(tmp_path):
    path = tmp_path / "train-0.tar"
    shard(path, [("a.png", b"broken"), ("b.png", png(1))])
    with pytest.raises(DataError, match=r"train-0\.tar: a\.png: not an image"):
        open_source(str(tmp_path)).array()
    source = open_source(str(tmp_path), skip_bad=True)
    np.testing.assert_array_equal(source.array()[1], np.asarray(source.image(1)))
    assert source.bad == {0}
    shard(path, [("a.png", png(1)), ("a.cls", b"dog")])
    with pytest.raises(DataError, match=r"train-0\.tar: a\.cls holds b'dog', expected a class"):
        open_source(str(tmp_path)).require_labels()
    shard(path, [("a.png", png(1))], "w:gz")
    with pytest.raises(DataError, match="uncompressed"):
        open_source(str(tmp_path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"train-0\.tar"):
        open_source(str(tmp_path))
