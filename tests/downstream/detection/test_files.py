"""Image files are checked before the first step, alike for VOC and for COCO."""

import pytest

from downstream.detection.data import read_splits
from downstream.detection.details import data_details, data_notes
from tests.downstream.detection.folders import coco_split, photo, xml
from zoo import DataError


@pytest.fixture(params=["voc", "coco"])
def images(request, tmp_path):
    """The folder of the training images ``1.jpg`` to ``3.jpg``; there are three test images."""
    if request.param == "coco":
        coco_split(tmp_path, "train2017", count=3)
        coco_split(tmp_path, "val2017", count=3, first_id=11)
        return tmp_path / "train2017"
    for split in ("train", "test"):
        for i in (1, 2, 3):
            photo(tmp_path / split / f"{i}.jpg", i)
            xml(tmp_path / split / f"{i}.xml")
    return tmp_path / "train"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def truncate_png(path):
    photo(path.with_suffix(".png"))
    content = path.with_suffix(".png").read_bytes()
    path.with_suffix(".png").unlink()
    path.write_bytes(content[:-40])


FAULTS = {
    "truncated": (truncate, "cannot be decoded"),
    "truncated PNG under the name of a JPEG": (truncate_png, "cannot be decoded"),
    "on its side": (lambda path: photo(path, orientation=6), "64×48"),
    "another size": (lambda path: photo(path, size=(32, 48)), "has 32×48 pixels"),
    "no image": (lambda path: path.write_text("<html>"), "cannot be read as an image"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as an image"),
    "missing": (lambda path: path.unlink(), "no such image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_image_is_named_before_training_or_left_out_and_counted(images, fault):
    spoil, said = FAULTS[fault]
    spoil(images / "2.jpg")
    with pytest.raises(DataError) as caught:
        read_splits(images.parent)
    assert "1 faults" in str(caught.value) and said in str(caught.value)
    assert "2.jpg" in str(caught.value)
    train, test = read_splits(images.parent, skip_bad=True)
    assert [image.path.name for image in train.images] == ["1.jpg", "3.jpg"]
    assert len(test.images) == 3
    details = data_details(train, test)
    assert details["images left out"] == 1
    notes = data_notes(details)
    assert notes[0] == "images left out: 1" and said in notes[1]


def test_a_size_of_the_image_as_stored_is_told_with_the_size_of_the_upright_one(tmp_path):
    for split, first in (("train2017", 1), ("val2017", 11)):
        coco_split(tmp_path, split, first_id=first)
        for i in (first, first + 1):
            photo(tmp_path / split / f"{i}.jpg", i, orientation=6)
    with pytest.raises(DataError) as caught:
        read_splits(tmp_path)
    message = str(caught.value)
    assert "4 faults" in message
    assert "train2017/1.jpg: the JSON says 64×48, the file has 48×64 pixels" in message


def test_an_orientation_that_no_size_can_confirm_is_told_as_assumed(images):
    photo(images / "2.jpg", orientation=3)
    train, test = read_splits(images.parent)
    assert data_details(train, test)["notes"] == [
        f"1 images of {train.name} have an EXIF orientation; their boxes were taken as drawn on "
        "the upright image."
    ]


def test_nothing_is_left_of_a_split_whose_images_are_all_left_out(images):
    for i in (1, 2, 3):
        truncate(images / f"{i}.jpg")
    with pytest.raises(DataError, match="the split train has no boxes that count"):
        read_splits(images.parent, skip_bad=True)


def test_a_size_of_0_says_nothing_and_the_file_knows(images):
    if images.name == "train":
        path = images / "1.xml"
        path.write_text(path.read_text().replace("64", "0").replace("48", "0"))
    else:
        path = images.parent / "annotations" / "instances_train2017.json"
        path.write_text(path.read_text().replace('"width": 64', '"width": null'))
    train, _ = read_splits(images.parent)
    assert (train.images[0].width, train.images[0].height) == (64, 48)
    assert not data_notes(data_details(train))
