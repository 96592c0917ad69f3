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


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar"),
        ("cc12m-Train-7.tar", "cc12m-TEST-7.tar"),
        ("x_training_0.tar", "x_valid_0.tar"),
        ("train/0.tar", "val/0.tar"),
    ],
)
def test_shards_are_of_the_split_that_a_word_of_their_names_says(tmp_path, train, test):
    for number, name in enumerate((train, test)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shard(tmp_path / name, [(f"{i}.png", png(number)) for i in range(2 + number)])
    assert len(open_source(str(tmp_path))) == 2
    assert len(open_source(str(tmp_path), "test")) == 3


def test_shards_and_images_that_are_not_read_are_counted(tmp_path, picture):
    shard(tmp_path / "train-0.tar", [("a.png", png(1)), ("b.psd", b"8BPS")])
    shard(tmp_path / "more.tar", [("a.png", png(1))])
    (tmp_path / "old.tar.gz").write_bytes(b"")
    picture(tmp_path / "loose.png")
    assert open_source(str(tmp_path)).notes == [
        "1 shards, as more.tar, are left out: no word of their names (train, val, test) says "
        "which split they are of",
        "1 compressed archives, as old.tar.gz, are left out: unpack them to .tar",
        "1 .psd image is left out: convert them to PNG or JPEG",
        "1 image (loose.png) is left out: the shards in that folder are read in their place",
    ]


def test_every_image_of_a_sample_is_used_whatever_dots_its_name_has(tmp_path):
    members = [(f"site.v2.{i:03d}.png", png(i)) for i in range(3)]
    members += [("site.v2.001.cls", b"1")]
    shard(tmp_path / "train-0.tar", members)
    members = []
    for i in range(2):
        members += [(f"{i}.left.png", png(i)), (f"{i}.right.png", png(i)), (f"{i}.cls", b"%d" % i)]
    members += [("0.depth.v2.jpg", png(5)), ("1.png", png(6)), ("1.jpg", png(7))]
    shard(tmp_path / "train-1.tar", members)
    source = open_source(str(tmp_path))
    keys = [source.key(index) for index in range(len(source))]
    assert keys == [
        "train-0.tar/site.v2.000",
        "train-0.tar/site.v2.001",
        "train-0.tar/site.v2.002",
        "train-1.tar/0.depth.v2",
        "train-1.tar/0.left",
        "train-1.tar/0.right",
        "train-1.tar/1.jpg",
        "train-1.tar/1.png",
        "train-1.tar/1.left",
        "train-1.tar/1.right",
    ]
    assert source.labels.tolist() == [-1, 1, -1, 0, 0, 0, 1, 1, 1, 1]


def test_why_shards_have_no_labels_is_said(tmp_path):
    shard(tmp_path / "train-0.tar", [("a.png", png(1)), ("a.txt", b"a cat"), ("b.png", png(2))])
    with pytest.raises(DataError, match=r"2 of 2 images have no class number .* found \.txt"):
        open_source(str(tmp_path)).require_labels()
    shard(tmp_path / "train-0.tar", [("a.png", png(1)), ("a.cls", b"-1")])
    with pytest.raises(DataError, match="has no labels"):
        open_source(str(tmp_path)).require_labels()
