"""Which splits are read: those that are asked for, or an error that lists what there is."""

import pytest

from downstream.detection.config import DetectConfig
from downstream.detection.data import read_splits
from tests.downstream.detection.folders import coco_split, found, photo, xml
from zoo import DataError, SettingsError


@pytest.fixture
def both_years(tmp_path):
    """COCO as its archives unpack: 2014 and 2017 beside each other, and other JSON."""
    first_id = 1
    for year in ("2014", "2017"):
        for split in ("train", "val"):
            category = {"id": 1, "name": f"of {year}"}
            coco_split(tmp_path, split + year, first_id=first_id, categories=(category,))
            first_id += 10
    for name in ("captions_train2017", "person_keypoints_val2017"):
        other = tmp_path / "annotations" / f"{name}.json"
        other.write_text('{"images": [], "annotations": [], "categories": []}')
    return tmp_path


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_the_year_that_is_asked_for_is_read(both_years, year):
    train, test = read_splits(both_years, (f"coco_{year}_train",), (f"coco_{year}_val",))
    assert train.classes == test.classes == [f"of {year}"]
    assert train.coco_json.name == f"instances_train{year}.json"
    assert test.coco_json.name == f"instances_val{year}.json"
    assert train.name == f"train{year}"


def test_splits_can_be_asked_for_by_the_names_of_their_files(both_years):
    train, test = read_splits(both_years, ("val2017",), ("train2017",))
    assert (train.name, test.name) == ("val2017", "train2017")


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ((), (), "holds train2014, train2017; say which"),
        (("coco_2015_train",), ("coco_2017_val",), "no split 'coco_2015_train'"),
        (("coco_2017_train",), ("coco_2017_test",), "no split 'coco_2017_test'"),
        (("voc_2007_trainval",), ("voc_2007_test",), "no split 'voc_2007_trainval'"),
        (("train",), ("val2017",), "There are: train2014, train2017, val2014, val2017"),
        (("train2017",), (), "DATASETS.TRAIN is train2017 and the other names no split"),
    ],
)
def test_what_is_not_there_or_could_be_several_is_an_error_with_the_candidates(
    both_years, train, test, said
):
    with pytest.raises(DataError) as caught:
        read_splits(both_years, train, test)
    assert said in str(caught.value) and "train2014" in str(caught.value)


def test_splits_of_several_files_are_joined(both_years):
    names = ("coco_2014_train", "coco_2017_train")
    with pytest.raises(DataError, match="unknown|refers to what is not there"):
        read_splits(both_years, ("coco_2014_train",), ("coco_2017_val",))  # other categories
    train, test = read_splits(both_years, names, ("coco_2017_val",))
    assert train.classes == ["of 2014", "of 2017"] and len(train.images) == 4
    assert found(train)[-1] == "train2017/22.jpg of 2017" and found(test)[0].endswith("of 2017")


def test_a_file_without_a_year_stands_for_any(tmp_path):
    coco_split(tmp_path, "train")
    coco_split(tmp_path, "valid", first_id=20)
    train, test = read_splits(tmp_path, ("coco_2017_train",), ("coco_2017_val",))
    assert (train.name, test.name) == ("train", "valid")


def test_a_voc_folder_of_another_year_or_without_the_split_is_an_error(voc):
    names = (("voc_2007_trainval",), ("voc_2007_test",))
    assert read_splits(voc, *names)[1].eleven_point  # the year that was asked for
    assert not read_splits(voc)[1].eleven_point
    with pytest.raises(DataError, match=r"no split 'voc_2007_train'.* There are: test, trainval"):
        read_splits(voc, ("voc_2007_train",), ("voc_2007_test",))
    with pytest.raises(DataError, match="no split 'voc_2012_trainval'"):
        read_splits(voc, ("voc_2007_trainval", "voc_2012_trainval"), ("voc_2007_test",))
    with pytest.raises(DataError, match="no split 'coco_2017_train'"):
        read_splits(voc, ("coco_2017_train",), ("coco_2017_val",))
    later = voc.rename(voc.with_name("VOC2012"))
    with pytest.raises(DataError, match="no split 'voc_2007_trainval'"):
        read_splits(later, *names)
    assert not read_splits(later, ("voc_2012_trainval",), ("voc_2012_test",))[1].eleven_point


@pytest.mark.parametrize("unpacked", ["VOC2012", "VOCdevkit/VOC2009"])
def test_a_devkit_of_any_year(tmp_path, unpacked):
    folder = tmp_path / unpacked
    for i in range(4):
        photo(folder / "JPEGImages" / f"{i}.jpg", i)
        xml(folder / "Annotations" / f"{i}.xml")
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, names in {"train": "0\n1", "val": "2\n3", "trainval": "0\n1\n2\n3"}.items():
        (lists / f"{split}.txt").write_text(names)
        (lists / f"red_{split}.txt").write_text("0  1\n1 -1")
    train, test = read_splits(tmp_path)
    year = unpacked[-4:]
    assert (train.name, test.name) == (f"{year} train", f"{year} val")
    assert found(train) == ["JPEGImages/0.jpg red", "JPEGImages/1.jpg red"]
    with pytest.raises(DataError, match=f"There are: {year} train, {year} trainval, {year} val"):
        read_splits(tmp_path, ("voc_2007_trainval",), ("voc_2007_test",))


def test_a_share_of_the_training_images_is_held_out_where_asked(voc):
    train, test = read_splits(voc, holdout=0.5)
    assert (len(train.images), len(test.images)) == (3, 3)
    train, test = read_splits(voc, ("test",), (), holdout=0.34)
    assert (len(train.images), len(test.images)) == (2, 1)


def test_options_on_splits_that_contradict_each_other():
    for wrong in ({"split": "a", "test_split": "a"}, {"test_split": "a", "holdout": "20%"}):
        with pytest.raises(SettingsError, match="test_split are both|takes the place"):
            DetectConfig(**wrong).check()
    DetectConfig().check()
