"""Average precision against detectron2's own evaluators, on real annotations."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from downstream.detection.annotations import AnnotatedImage, Box
from downstream.detection.data import read_splits
from downstream.detection.scores import (
    THRESHOLDS,
    Detections,
    average_precision,
    match_detections,
    score,
)


def as_detections(record, boxes=None):
    boxes = record.boxes if boxes is None else boxes
    corners = np.array([[b.x1, b.y1, b.x2, b.y2] for b in boxes], float).reshape(-1, 4)
    return Detections(corners, np.ones(len(boxes)), np.array([b.category for b in boxes], int))


def guesses(split, seed=0):
    """Truths moved about, some doubled, some lost, some of another class; no score twice."""
    rng = np.random.default_rng(seed)
    found, count = {}, 0
    for record in split.images:
        boxes = [box for box in record.boxes for _ in range(rng.choice(3, p=[0.1, 0.6, 0.3]))]
        corners = as_detections(record, boxes).boxes
        corners = np.round(corners + rng.normal(0, 5, corners.shape), 1)
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 2)
        classes = [
            b.category if rng.random() < 0.9 else rng.integers(len(split.classes)) for b in boxes
        ]
        found[record.id] = Detections(
            corners, np.arange(count, count + len(boxes)), np.array(classes, int)
        )
        count += len(boxes)
    order = rng.permutation(count)
    assert count < 999
    return {
        id: dataclasses.replace(d, scores=(1 + order[d.scores]) / 1000) for id, d in found.items()
    }


@pytest.mark.parametrize("kind", ["area", "eleven", "coco"])
def test_the_truth_scores_100_and_nothing_scores_0(bccd, kind):
    _, test = read_splits(bccd)
    test = dataclasses.replace(
        test, eleven_point=kind == "eleven", coco_json=bccd if kind == "coco" else None
    )
    perfect = score(test, {record.id: as_detections(record) for record in test.images})
    assert {"AP", "AP50", "AP75", "AP50/RBC", "AP50/WBC", "AP50/Platelets"} == set(perfect)
    assert all(value == pytest.approx(1, abs=1e-12) for value in perfect.values())
    assert set(score(test, {}).values()) == {0.0}
    empty = Detections(np.empty((0, 4)), np.empty(0), np.empty(0))
    assert set(score(test, {record.id: empty for record in test.images}).values()) == {0.0}


def test_difficult_truths_count_neither_way_and_doubles_are_false(bccd):
    _, test = read_splits(bccd)
    first = test.images[0]
    easy, hard = Box(0, 0, 10, 10, 0), Box(50, 50, 90, 90, 0, difficult=True)
    record = dataclasses.replace(first, boxes=[easy, hard])
    split = dataclasses.replace(test, images=[record], eleven_point=False)
    assert score(split, {first.id: as_detections(first, [hard, hard, easy])})["AP50"] == 1
    wrong = Box(20, 20, 30, 30, 0)
    assert score(split, {first.id: as_detections(first, [wrong, easy])})["AP50"] == 0.5
    assert (
        score(split, {first.id: as_detections(first, [easy, easy])})["AP50"] == 1
    )  # after full recall


def instances(found, size=(480, 640)):
    import torch
    from detectron2.structures import Boxes, Instances

    seen = Instances(size)
    seen.pred_boxes = Boxes(torch.tensor(found.boxes))
    seen.scores = torch.tensor(found.scores)
    seen.pred_classes = torch.tensor(found.categories)
    return seen


def judged(evaluator, split, found):
    evaluator.reset()
    for record in split.images:
        seen = found[record.id]
        evaluator.process([{"image_id": record.id}], [{"instances": instances(seen)}])
    return evaluator.evaluate()["bbox"]


@pytest.mark.parametrize("year", [2007, 2012])
def test_the_score_is_that_of_detectron2s_voc_evaluation(bccd, tmp_path, year):
    evaluation = pytest.importorskip("detectron2.evaluation", reason="detectron2 is not installed")
    from detectron2.data import MetadataCatalog

    root = tmp_path / f"VOC{year}"
    shutil.copytree(bccd, root)
    _, test = read_splits(root)
    assert test.clipped == 0 and test.eleven_point == (year == 2007)
    name = f"bccd_{tmp_path.name}"
    MetadataCatalog.get(name).set(
        thing_classes=test.classes, dirname=str(root), year=year, split="test"
    )
    for seed in range(3):
        found = guesses(test, seed)
        theirs = judged(evaluation.PascalVOCDetectionEvaluator(name), test, found)
        ours = score(test, found)
        assert 0.2 < ours["AP50"] < 0.95
        for key in ("AP", "AP50", "AP75"):
            assert 100 * ours[key] == pytest.approx(theirs[key], abs=1e-6)


def test_the_score_of_coco_json_is_that_of_detectron2s_coco_evaluation(coco, tmp_path):
    evaluation = pytest.importorskip("detectron2.evaluation", reason="detectron2 is not installed")
    from detectron2.data import MetadataCatalog

    path = coco / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    _, test = read_splits(coco)
    ids = {3: 0, 7: 1}
    name = f"coco_{tmp_path.name}"
    MetadataCatalog.get(name).set(json_file=str(path), thing_dataset_id_to_contiguous_id=ids)
    content["categories"] = content["categories"][1:]
    path.write_text(json.dumps(content))
    found = guesses(test)
    evaluator = evaluation.COCOEvaluator(name, ("bbox",), False)
    evaluator.reset()
    for record in test.images:
        evaluator.process(
            [{"image_id": int(record.id)}], [{"instances": instances(found[record.id], (48, 64))}]
        )
    theirs, ours = evaluator.evaluate()["bbox"], score(test, found)
    assert 0 < ours["AP"] < 1
    for key in ("AP", "AP50", "AP75"):
        assert 100 * ours[key] == pytest.approx(theirs[key], abs=1e-6)


def test_average_precision_by_11_points_and_by_area():
    recall = np.array([0.5, 0.5, 1.0])
    precision = np.array([1.0, 0.5, 2 / 3])
    by_area = average_precision(recall, precision, eleven_point=False)
    assert by_area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    by_points = average_precision(recall, precision, eleven_point=True)
    assert by_points == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)  # recalls 0 to 0.5, then 0.6 to 1


def test_a_truth_is_matched_once_and_only_by_its_class():
    truth = Box(0, 0, 10, 10, 1)
    image = AnnotatedImage("a", Path("a.png"), 50, 50, [truth])
    same = as_detections(image, [truth, truth, Box(0, 0, 10, 10, 0)])
    matched = match_detections([image], {"a": same}, 1)
    assert matched.num_truths == 1 and len(matched.correct) == len(THRESHOLDS)
    assert all(correct.tolist() == [True, False] for correct in matched.correct)
    half = as_detections(image, [Box(0, 0, 10, 6, 1)])  # an overlap of 0.6
    decisions = [part.tolist() for part in match_detections([image], {"a": half}, 1).correct]
    assert decisions == [[True]] * 2 + [[False]] * 8
