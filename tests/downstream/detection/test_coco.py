"""COCO JSON: what is read, and every fault in it. No detectron2 needed."""

import json

import pytest

from downstream.detection.data import read_splits
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
