"""Folders of images, with and without classes."""

import logging
import os

import pytest

from zoo import DataError
from zoo.data import sources
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


def keys(data, split="train"):
    source = open_source(str(data), split)
    return [source.key(index) for index in range(len(source))]


@pytest.mark.parametrize("flat", ["train", "Training", "val", "testing"])
def test_a_class_may_be_called_like_a_split(tmp_path, picture, flat):
    for name in ("bike", "bus", flat):
        for number in range(2):
            picture(tmp_path / name / f"{number}.png")
    source = open_source(str(tmp_path))
    assert len(source) == 6 and source.classes == sorted(["bike", "bus", flat])
    assert source.notes == []


def test_images_in_no_split_are_counted(image_folder, picture):
    picture(image_folder / "extra" / "0.png")
    picture(image_folder / "cover.png")
    source = open_source(str(image_folder))
    assert len(source) == 12
    assert source.notes == [
        "2 images are left out (1 in beside them, 1 in extra/): they lie in no split "
        "(splits are test/, train/)"
    ]


def test_a_single_split_among_other_folders_is_a_split_where_it_holds_classes(tmp_path, picture):
    for name in ("train/cat/0.png", "train/dog/0.png", "raw/0.png"):
        picture(tmp_path / name)
    source = open_source(str(tmp_path))
    assert keys(tmp_path) == ["cat/0.png", "dog/0.png"]
    assert source.notes == [
        "1 image is left out (1 in raw/): they lie in no split (splits are train/)"
    ]


@pytest.mark.parametrize("names", [("Train", "Valid"), ("TRAINING", "Testing"), ("train", "VAL")])
def test_splits_are_found_in_any_case_and_by_their_other_names(tmp_path, picture, names):
    for split in names:
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / f"{split}.png")
    assert keys(tmp_path) == [f"cat/{names[0]}.png", f"dog/{names[0]}.png"]
    assert keys(tmp_path, "test") == [f"cat/{names[1]}.png", f"dog/{names[1]}.png"]


def test_a_folder_of_classes_has_labels_and_one_of_albums_and_images_says_why_not(
    tmp_path, picture
):
    for name in ("cat/0.png", "dog/0.png", "dog/1.png"):
        picture(tmp_path / name)
    source = open_source(str(tmp_path))
    assert source.labels.tolist() == [0, 1, 1] and source.classes == ["cat", "dog"]
    picture(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"no labels \(loose.png lies in no class folder\)"):
        open_source(str(tmp_path)).require_labels()


def test_an_image_beside_the_class_folders_has_no_label(image_folder, picture):
    picture(image_folder / "train" / "montage.png")
    source = open_source(str(image_folder))
    assert len(source) == 13 and source.labels.tolist() == [0] * 6 + [1] * 6 + [-1]
    with pytest.raises(DataError, match=r"1 of 13 images .* have no label, as montage\.png"):
        source.require_labels()


def test_images_that_are_not_read_are_counted_with_the_reason(tmp_path, picture, caplog):
    for name in ("a.png", ".hidden.png", ".cache/b.png"):
        picture(tmp_path / name)
    (tmp_path / "scan.psd").write_bytes(b"8BPS")
    (tmp_path / "IMG_1").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    sources._logged.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            source = open_source(str(tmp_path))
    assert len(source) == 1
    assert source.notes == [
        "2 images (.cache/b.png, .hidden.png) are left out: names that begin with a dot are hidden",
        "1 .psd image is left out: convert them to PNG or JPEG",
        "1 image (IMG_1) is left out: give the name an ending such as .jpg",
    ]
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: {note}" for note in source.notes
    ], "each is said once"


def test_a_folder_of_files_of_another_kind_says_what_there_is(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.psd").write_bytes(b"8BPS")
    with pytest.raises(DataError, match=r"no images in it .*3 \.psd images are left out: convert"):
        open_source(str(tmp_path))
    for path in tmp_path.iterdir():
        path.rename(path.with_suffix(".npy"))
    with pytest.raises(DataError, match=r"found files of the endings \.npy"):
        open_source(str(tmp_path))


def test_a_link_to_nothing_is_bad_and_so_is_a_file_that_vanishes(image_folder):
    link = image_folder / "train" / "ant" / "broken.png"
    link.parent.mkdir()
    link.symlink_to("/nowhere/x.png")
    source = open_source(str(image_folder), skip_bad=True)
    assert len(source) == 13 and source.digest and source.fingerprint(0) == b"-1"
    (image_folder / "train" / "dog" / "5.png").unlink()
    assert source.array().shape[0] == 13 and source.bad == {0, 12}
    with pytest.raises(DataError, match=r"ant/broken\.png: not there, or a link"):
        open_source(str(image_folder)).array()


@pytest.mark.skipif(os.name != "posix", reason="names are text there")
def test_names_that_are_no_utf8_are_keys_that_can_be_written(tmp_path, picture):
    for number, name in enumerate((b"caf\xe9", b"\xff\xfe")):
        folder = os.path.join(os.fsencode(tmp_path), name)
        try:
            os.mkdir(folder)
        except OSError:
            pytest.skip("this file system takes no such names")
        os.rename(picture(tmp_path / f"{number}.png"), os.path.join(folder, b"\xe9.png"))
    source = open_source(str(tmp_path))
    assert keys(tmp_path) == ["caf\\xe9/\\xe9.png", "\\xff\\xfe/\\xe9.png"]
    assert sorted(source.classes) == ["\\xff\\xfe", "caf\\xe9"]
    assert source.digest and source.image(0).size == (16, 16)
    assert source.manifest().encode()
