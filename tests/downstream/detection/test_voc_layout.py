"""Folders of VOC's XML as LabelImg, labelme, CVAT and Roboflow write them."""

import pytest

from downstream.detection.data import read_splits
from tests.downstream.detection.folders import found, photo, xml
from zoo import DataError


def labelimg(root, images="", annotations=""):
    for i in range(10):
        photo(root / images / f"photo {i}.jpg", i)
        xml(root / annotations / f"photo {i}.xml", name="blue" if i % 2 else "red")
    return root


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("", ""),
        ("images", "annotations"),
        ("images", "Annotations"),
        ("JPEGImages", "Annotations"),
        ("photos", "labels"),
    ],
)
def test_without_splits_a_fifth_is_held_out_and_that_is_told(tmp_path, images, annotations):
    labelimg(tmp_path, images, annotations)
    train, test = read_splits(tmp_path)
    assert (len(train.images), len(test.images)) == (8, 2)
    assert sorted(found(train) + found(test))[9].endswith("/photo 9.jpg blue")
    assert {image.path for image in train.images}.isdisjoint(image.path for image in test.images)
    assert "tested on 2 of the 10 images" in train.notes[0]
    assert [image.id for image in read_splits(tmp_path)[1].images] == [i.id for i in test.images]
    assert train.classes == test.classes == ["blue", "red"]


def test_a_folder_for_each_split(tmp_path):
    for number, split in enumerate(("train", "valid", "test")):
        for i in range(2):
            photo(tmp_path / split / f"{split}{i}_jpg.rf.0a{i}.jpg", 10 * number + i)
            xml(tmp_path / split / f"{split}{i}_jpg.rf.0a{i}.xml")
    train, test = read_splits(tmp_path)  # as Roboflow names them
    assert found(train)[0] == "train/train0_jpg.rf.0a0.jpg red" and len(train.images) == 2
    assert found(test)[1] == "valid/valid1_jpg.rf.0a1.jpg red"
    _, test = read_splits(tmp_path, ("train",), ("test",))
    assert found(test)[0] == "test/test0_jpg.rf.0a0.jpg red"


def test_folders_within_those_of_images_and_annotations(tmp_path):
    for split in ("train", "val"):
        for i in range(2):  # the same names in both
            photo(tmp_path / "images" / split / f"{i}.png", i)
            xml(tmp_path / "annotations" / split / f"{i}.xml", name=split)
    with pytest.raises(DataError, match="unknown class 'val'; the classes are train"):
        read_splits(tmp_path)
    (tmp_path / "classes.txt").write_text("val\ntrain\n")
    train, test = read_splits(tmp_path)
    assert found(train) == ["train/0.png train", "train/1.png train"]
    assert found(test) == ["val/0.png val", "val/1.png val"]


def test_cvat_with_its_label_map_and_one_list(tmp_path):
    labelimg(tmp_path, "JPEGImages", "Annotations")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text("".join(f'"photo {i}"\n' for i in range(8)))
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nred:250,50,83::\n"
        "never seen:1,2,3::\nblue:51,221,255::\n"
    )
    train, test = read_splits(tmp_path)
    assert train.classes == ["red", "never seen", "blue"]
    assert len(train.images) + len(test.images) == 8


def test_labelme_with_its_class_names_and_its_drawings(tmp_path):
    labelimg(tmp_path, "JPEGImages", "Annotations")
    for i in range(10):
        photo(tmp_path / "AnnotationsVisualization" / f"photo {i}.jpg", i)
        photo(tmp_path / "SegmentationClass" / f"photo {i}.png", i)
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\nred\nblue\n")
    train, test = read_splits(tmp_path)
    assert train.classes == ["red", "blue"]
    assert {line.split("/")[0] for line in found(train) + found(test)} == {"JPEGImages"}


def test_a_class_that_the_list_lacks_is_an_error(tmp_path):
    labelimg(tmp_path)
    (tmp_path / "classes.txt").write_text("red\n")
    with pytest.raises(DataError, match="unknown class 'blue'; the classes are red"):
        read_splits(tmp_path)
    (tmp_path / "classes.txt").write_text("\n")
    with pytest.raises(DataError, match=r"classes\.txt: lists no classes"):
        read_splits(tmp_path)


def test_two_images_of_one_annotation_are_an_error(tmp_path):
    labelimg(tmp_path)
    photo(tmp_path / "photo 0.png")
    with pytest.raises(DataError, match=r"photo 0\.jpg and .*photo 0\.png could both be"):
        read_splits(tmp_path)


def test_a_list_with_file_names(tmp_path):
    labelimg(tmp_path, "JPEGImages", "Annotations")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("photo 0.jpg\nJPEGImages/photo 1.jpg\n")
    (lists / "val.txt").write_text("photo 2\n")
    train, _ = read_splits(tmp_path)
    assert found(train) == ["JPEGImages/photo 0.jpg red", "JPEGImages/photo 1.jpg blue"]


def test_a_folder_without_annotations_is_none(tmp_path):
    photo(tmp_path / "a" / "0.jpg")
    (tmp_path / "a" / "project.xml").write_text("<project/>")
    with pytest.raises(DataError, match="neither a VOC folder"):
        read_splits(tmp_path)
