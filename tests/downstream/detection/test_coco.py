"""COCO JSON: what is read, and every fault in it. No detectron2 needed."""

import json

import pytest

from downstream.detection.data import read_splits
from downstream.detection.details import data_details, data_notes
from tests.downstream.detection.folders import coco_json, found, photo
from zoo import DataError


def test_voc_and_coco_of_the_same_scenes_agree(voc, coco):
    for ours, theirs in zip(read_splits(voc), read_splits(coco), strict=True):
        named = [
            {(b.x1, b.y1, b.x2, b.y2, ours.classes[b.category]) for b in r.boxes}
            for r in ours.images
        ]
        assert named == [
            {(b.x1, b.y1, b.x2, b.y2, theirs.classes[b.category]) for b in r.boxes}
            for r in theirs.images
        ]
        assert theirs.classes == ["red", "blue"]  # by id, the unused one left out


def test_faults_in_coco_json_are_collected_with_their_annotation(coco):
    path = coco / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [5, 5, -3, 4]
    content["annotations"][1]["image_id"] = 9999
    content["annotations"][2]["category_id"] = 55
    content["annotations"][3]["bbox"] = ["a", 1, 2, 3]
    path.write_text(json.dumps(content))
    (coco / "train2017" / "5.png").unlink()
    with pytest.raises(DataError) as caught:
        read_splits(coco)
    message = str(caught.value)
    assert "5 faults" in message and all(f"{path}: annotation {i}" in message for i in (1, 2, 3, 4))
    assert f"{coco / 'train2017' / '5.png'}: no such image" in message
    path.write_text("{")
    with pytest.raises(DataError, match="instances_train2017.json: not COCO JSON"):
        read_splits(coco)


def edit(coco, split, change):
    path = coco / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("bbox", [[9.65, 8.33, 1.03, 0.0], [5, 5, 0, 7], [64, 3, 4, 4], []])
def test_a_box_without_area_is_left_out_and_counted(coco, bbox):
    """Two of 860 001 boxes in COCO train2017 have a height of 0 (annotations 918 and 2206849)."""
    extra = {"id": 918, "image_id": 100, "category_id": 3, "bbox": bbox, "iscrowd": 0}
    edit(coco, "train2017", lambda content: content["annotations"].append(extra))
    train, test = read_splits(coco)
    assert (train.empty_boxes, test.empty_boxes) == (1, 0)
    assert len(train.boxes()) == 12
    details = data_details(train, test)
    assert details["boxes without area left out"] == 1
    assert data_notes(details) == ["boxes without area left out: 1"]


def test_annotations_that_cannot_be_used_leave_out_their_image_where_asked(coco):
    def spoil(content):
        content["annotations"][0]["bbox"] = [5, 5, -3, 4]
        content["annotations"].append(
            {"id": 77, "image_id": 9999, "category_id": 3, "bbox": [1] * 4}
        )

    edit(coco, "train2017", spoil)
    with pytest.raises(DataError, match="2 faults"):
        read_splits(coco)
    train, _ = read_splits(coco, skip_bad=True)
    assert [image.id for image in train.images] == ["101", "102", "103", "104", "105"]
    assert len(train.left_out) == 2


@pytest.mark.parametrize(("value", "crowd"), [("0", False), ("1", True), (None, False), (1, True)])
def test_a_crowd_is_what_says_so(coco, value, crowd):
    edit(coco, "train2017", lambda content: content["annotations"][0].update(iscrowd=value))
    train, _ = read_splits(coco)
    assert train.images[0].boxes[0].crowd is crowd


def test_classes_are_those_of_the_list_of_categories(coco):
    def rename(content):
        content["categories"].append({"id": 9, "name": "only in the test split"})

    edit(coco, "train2017", rename)
    edit(coco, "val2017", rename)
    edit(coco, "val2017", lambda content: content["annotations"][0].update(category_id=9))
    train, test = read_splits(coco)
    assert train.classes == test.classes == ["red", "blue", "only in the test split"]
    assert test.images[0].boxes[0].category == 2


def test_categories_of_one_name_are_one_class(coco):
    for split in ("train2017", "val2017"):
        edit(coco, split, lambda content: content["categories"][1].update(name="red"))
    train, _ = read_splits(coco)
    assert train.classes == ["red"] and {box.category for box in train.boxes()} == {0}


EXPORTS = {  # {tool: (its JSON, how it names an image, where the image lies)}
    "CVAT": ("annotations/instances_default.json", "{}.jpg", "images/{}.jpg"),
    "CVAT, later": ("annotations/instances_default.json", "{}.jpg", "images/default/{}.jpg"),
    "labelme": ("annotations.json", "JPEGImages/{}.jpg", "JPEGImages/{}.jpg"),
    "FiftyOne": ("labels.json", "{}.jpg", "data/{}.jpg"),
    "Label Studio": ("result.json", "images/{}.jpg", "images/{}.jpg"),
    "one folder": ("photos/_annotations.coco.json", "{}.jpg", "photos/{}.jpg"),
}


@pytest.mark.parametrize("tool", EXPORTS)
def test_one_file_of_another_tool_has_a_fifth_held_out(tmp_path, tool):
    json_name, file_name, place = EXPORTS[tool]
    for i in range(5):
        photo(tmp_path / place.format(i), i)
    coco_json(tmp_path / json_name, [file_name.format(i) for i in range(5)])
    train, test = read_splits(tmp_path)
    assert (len(train.images), len(test.images)) == (4, 1)
    assert len(found(train) + found(test)) == 5 and "held out" in train.notes[0]


@pytest.mark.parametrize("json_name", ["{}/_annotations.coco.json", "annotations/{}.json"])
def test_a_file_for_each_split_by_any_name(tmp_path, json_name):
    for first_id, split in ((1, "train"), (11, "valid"), (21, "test")):
        names = [f"{split}{i}_jpg.rf.3{i}.jpg" for i in range(2)]
        for name in names:
            photo(tmp_path / split / name)
        coco_json(tmp_path / json_name.format(split), names, first_id=first_id)
    train, test = read_splits(tmp_path)
    assert (train.name, test.name) == ("train", "valid")
    assert found(train) == [f"train/train{i}_jpg.rf.3{i}.jpg red" for i in range(2)]
    assert read_splits(tmp_path, ("train",), ("test",))[1].name == "test"
