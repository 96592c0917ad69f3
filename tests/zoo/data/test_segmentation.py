"""VOC's segmentation layout: what is read, and what is refused with its file's name."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.segmentation_data import CLASSES, COLOURS, save_mask, write_voc
from zoo.data.segmentation import VOC_CLASSES, open_segmentation
from zoo.errors import DataError


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path / "VOCdevkit" / "Stripes")


def faults(data):
    """The message of opening and checking a data set."""
    with pytest.raises(DataError) as error:
        for split in open_segmentation(data):
            split.check()
    return str(error.value)


def test_images_masks_and_classes_are_those_of_the_files(root):
    train, test = open_segmentation(root)
    assert (train.name, len(train), test.name, len(test)) == ("train", 8, "test", 4)
    assert tuple(train.classes) == CLASSES
    for split in (train, test):
        split.check()
        for index in range(len(split)):
            image = np.asarray(split.image(index)).astype(int)
            mask = split.mask(index)
            assert image.shape == (*mask.shape, 3) and (mask[:2] == 255).all()
            counted = mask[2:]
            distances = np.abs(image[2:, :, None] - COLOURS.astype(int)).sum(-1)
            assert (distances.argmin(-1) == counted).mean() > 0.9


def test_a_folder_above_it_will_do_and_two_data_sets_need_a_choice(root, tmp_path):
    for data in (root.parent, tmp_path):
        assert open_segmentation(data)[0].images == open_segmentation(root)[0].images
    write_voc(tmp_path / "VOCdevkit" / "Other")
    with pytest.raises(DataError, match="several data sets; give one of them: .*Other, .*Stripes"):
        open_segmentation(tmp_path)


def test_without_names_the_classes_are_those_of_voc(root):
    (root / "classes.txt").unlink()
    train, _ = open_segmentation(root)
    assert list(train.classes) == VOC_CLASSES and len(VOC_CLASSES) == 21


def test_trainval_is_preferred_and_val_is_the_last_resort(root):
    lists = root / "ImageSets" / "Segmentation"
    (lists / "trainval.txt").write_text("000\n001\n")
    assert open_segmentation(root)[0].name == "trainval"
    (lists / "test.txt").rename(lists / "val.txt")
    assert [split.name for split in open_segmentation(root)] == ["train", "val"]
    (lists / "train.txt").unlink()
    with pytest.raises(DataError, match=r"expected train.txt and test.txt .*found trainval.txt"):
        open_segmentation(root)


def test_every_bad_file_is_named_at_once(root):
    masks = root / "SegmentationClass"
    save_mask(root, "000", np.full((28, 40), 7, np.uint8))
    save_mask(root, "001", np.zeros((28, 41), np.uint8))
    Image.new("RGB", (40, 28)).save(masks / "002.png")
    (masks / "003.png").write_bytes(b"nothing")
    whole = (masks / "004.png").read_bytes()
    (masks / "004.png").write_bytes(whole[:60])
    (root / "JPEGImages" / "005.jpg").write_bytes(b"nothing")
    message = faults(root)
    for text in (
        "the train split has 6 faults",
        "000.png: has the class 7; there are 3 classes, 0 to 2, and 255 is ignored",
        "001.png: is 41×28 pixels, but 001.jpg is 40×28",
        "002.png: has the mode RGB; a mask is a palette or grey image",
        "003.png: cannot be read as a mask",
        "004.png: cannot be read as a mask",
        "005.jpg: not an image file",
    ):
        assert text in message


def test_missing_files_are_named(root):
    (root / "SegmentationClass" / "001.png").unlink()
    (root / "JPEGImages" / "002.jpg").unlink()
    message = faults(root)
    assert "2 faults" in message
    assert re.search(r"001\.png: no such mask", message)
    assert re.search(r"002\.jpg: no such image", message)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ImageSets/Segmentation/train.txt", "", "train.txt: is empty"),
        ("ImageSets/Segmentation/train.txt", "000\n000\n", "train.txt: lists 000 twice"),
        ("ImageSets/Segmentation/test.txt", "000\n009\n", "share 1 images: 000"),
        ("classes.txt", "road\n", "names 1 classes; expected 2 to 255"),
    ],
)
def test_lists_that_cannot_be_used_are_named(root, name, text, message):
    (root / name).write_text(text)
    assert message in faults(root)


def test_a_folder_that_is_none_gets_one_message(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        open_segmentation(tmp_path / "nowhere")
    with pytest.raises(DataError, match="not in VOC's segmentation layout"):
        open_segmentation(tmp_path)


def test_lists_are_chosen_by_name(root):
    lists = root / "ImageSets" / "Segmentation"
    (lists / "mini.txt").write_text("000\n001\n")
    train, test = open_segmentation(root, train="mini", test="test")
    assert (train.name, len(train), test.name) == ("mini", 2, "test")
    with pytest.raises(DataError, match=r"expected none\.txt and train\.txt, found .*mini\.txt"):
        open_segmentation(root, test="none")


def test_a_part_of_the_training_list_can_be_held_out(root):
    (root / "ImageSets" / "Segmentation" / "test.txt").unlink()
    train, test = open_segmentation(root, holdout=0.25, seed=1)
    assert (len(train), len(test)) == (6, 2)
    assert not set(train.images) & set(test.images)
    assert open_segmentation(root, holdout=0.25, seed=1)[1].images == test.images
    for split in (train, test):
        split.check()
