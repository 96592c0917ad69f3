"""Folders of images, with and without classes."""

import os

import pytest

from zoo import DataError
from zoo.data.sources import open_source


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
