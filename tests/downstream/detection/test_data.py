"""A folder as two splits, whatever its format. No detectron2 needed."""

import pytest

from downstream.detection.data import digest, read_splits
from tests.downstream.detection.boxes import thing
from zoo import DataError


def test_a_split_without_boxes_that_count_and_a_folder_of_another_kind_are_refused(voc, tmp_path):
    for i in (6, 7, 8):
        (voc / "Annotations" / f"shape {i}.xml").write_text(thing(more="<difficult>1</difficult>"))
    with pytest.raises(DataError, match="the split test has no boxes that count"):
        read_splits(voc)
    with pytest.raises(DataError, match="neither a VOC folder"):
        read_splits(tmp_path)


def test_a_devkit_of_two_years_is_joined_and_scored_by_the_year_of_its_test_split(voc, tmp_path):
    kit = tmp_path / "VOCdevkit"
    kit.mkdir()
    voc.rename(kit / "VOC2007")
    (kit / "VOC2012").symlink_to(kit / "VOC2007")
    train, test = read_splits(kit, ("voc_2007_trainval", "voc_2012_trainval"), ("voc_2007_test",))
    assert (
        len(train.images) == 12
        and train.name == "2007 trainval+2012 trainval"
        and test.eleven_point
    )
    with pytest.raises(
        DataError, match="the config must name them as voc_2007_test, found coco_2017_train"
    ):
        read_splits(kit, ("coco_2017_train",), ("coco_2017_val",))


def test_the_digest_tells_another_box_and_nothing_else(voc):
    before = digest(*read_splits(voc))
    assert digest(*read_splits(voc)) == before
    (voc / "Annotations" / "shape 0.xml").write_text(thing())
    assert digest(*read_splits(voc)) != before


def test_the_digest_is_what_older_runs_have_in_their_data_json(voc, coco):
    older_voc = "a65f23ce0298b5bc2c430dd493571355e62b8a1d6dc3622a539fddc2f228437d"
    older_coco = "82149cff6297cbae668bef5aa19166660e6b59af9875ea63e6580506a49c1741"
    assert digest(*read_splits(voc)) == older_voc
    assert digest(*read_splits(coco)) == older_coco
