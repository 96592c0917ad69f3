import io
import os

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.data.sources import open_source, place


def test_an_image_folder_has_labels_and_the_classes_of_its_training_split(image_folder, picture):
    train = open_source(str(image_folder))
    assert train.classes == ["cat", "dog"] and train.labels.tolist() == [0] * 6 + [1] * 6
    assert train.key(6) == "dog/0.png" and train.image(0).size == (16, 16)
    for file in (image_folder / "test" / "cat").iterdir():
        file.unlink()
    (image_folder / "test" / "cat").rmdir()
    test = open_source(str(image_folder), "test")
    assert test.classes == ["cat", "dog"] and test.labels.tolist() == [1, 1]
    picture(image_folder / "test" / "emu" / "0.png")
    with pytest.raises(DataError, match="emu"):
        open_source(str(image_folder), "test")


def test_val_stands_in_for_test(image_folder):
    os.rename(image_folder / "test", image_folder / "val")
    assert len(open_source(str(image_folder), "test")) == 4


def test_a_flat_folder_is_sorted_by_posix_path_and_has_no_labels(tmp_path, picture):
    for name in ("b/a.png", "a.png", "a/é.png", "a/a.png", ".hidden/x.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(str(tmp_path))
    assert [source.key(i) for i in range(len(source))] == ["a.png", "a/a.png", "a/é.png", "b/a.png"]
    with pytest.raises(DataError, match="no labels"):
        source.require_labels()
    with pytest.raises(DataError, match="no test split"):
        open_source(str(tmp_path), "test")


def test_what_is_empty_or_absent_is_named(tmp_path, image_folder):
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="void: no images"):
        open_source(str(tmp_path / "void"))
    with pytest.raises(DataError, match="nowhere"):
        open_source("nowhere")
    (image_folder / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="without an image: empty"):
        open_source(str(image_folder))


def test_the_digest_follows_names_sizes_and_count_but_not_the_place(
    image_folder, tmp_path, picture
):
    before = open_source(str(image_folder)).digest
    os.rename(image_folder, tmp_path / "moved")
    assert open_source(str(tmp_path / "moved")).digest == before
    picture(tmp_path / "moved" / "train" / "cat" / "new.png")
    assert open_source(str(tmp_path / "moved")).digest != before


def test_images_of_one_size_come_as_an_array_and_others_do_not(image_folder, picture):
    array = open_source(str(image_folder)).array()
    assert array.shape == (12, 16, 16, 3)
    np.testing.assert_array_equal(array[3], np.asarray(open_source(str(image_folder)).image(3)))
    picture(image_folder / "train" / "dog" / "z.png", side=17)
    assert open_source(str(image_folder)).array() is None


def test_a_bad_image_is_an_error_unless_skipped_and_indices_stay(image_folder):
    (image_folder / "train" / "cat" / "2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.2\.png"):
        open_source(str(image_folder)).array()
    source = open_source(str(image_folder), skip_bad=True)
    assert len(source.array()) == 12 and source.bad == {2}


def parquet(path, images, labels=None, column="img"):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    table = {column: rows} | ({"label": labels} if labels is not None else {})
    pq.write_table(pa.table(table), path)


def test_parquet_rows_keep_their_order_over_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    parquet(tmp_path / "train-00000-of-00002.parquet", images[:3], [0, 1, 0], "image")
    parquet(tmp_path / "train-00001-of-00002.parquet", images[3:], [1, 1], "image")
    source = open_source(str(tmp_path))
    np.testing.assert_array_equal(source.array(), images)
    assert source.labels.tolist() == [0, 1, 0, 1, 1] and source.classes == ["0", "1"]
    with pytest.raises(DataError, match="no test split"):
        open_source(str(tmp_path), "test")


def test_strange_parquet_is_named(tmp_path):
    parquet(tmp_path / "train-0.parquet", np.zeros((1, 4, 4, 3), np.uint8), column="pixels")
    with pytest.raises(DataError, match="img or image, found pixels"):
        open_source(str(tmp_path))
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        open_source(str(tmp_path))


def test_digits_split_once_and_for_all():
    train, test = open_source("digits"), open_source("digits", "test")
    assert (len(train), len(test)) == (1437, 360) and train.classes == test.classes
    assert np.bincount(test.labels).min() > 20 and train.images.max() == 255


def test_a_name_is_a_name_beside_a_folder_of_that_name(tmp_path, monkeypatch, image_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert place("digits") == "digits" and len(open_source("digits")) == 1437
    assert place(os.path.relpath(image_folder)) == str(image_folder.resolve())


def test_real_cifar(real):
    test = open_source(real("cifar10"), "test")
    assert (
        len(test) == 10_000
        and len(test.classes) == 10
        and np.bincount(test.labels).tolist() == [1000] * 10
    )
    assert test.image(0).size == (32, 32)
