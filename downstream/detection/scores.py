"""Average precision as PASCAL VOC defines it, or as COCO does, over IoU thresholds 0.50 to 0.95.

For VOC, a detection counts if it overlaps a truth of its class by more than the threshold and that one is not yet
taken; more on the same truth are false, difficult truths count neither way. VOC2007 averages the precision at 11
recalls, later years take the area under its envelope (Everingham et al. 2010, section 4.2; the devkit's VOCevaldet.m).
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from downstream.detection.records import Record, Split

THRESHOLDS = tuple(t / 100 for t in range(50, 100, 5))
Floats = np.ndarray


@dataclass(frozen=True)
class Detections:
    """What was found in one image: K×4 corners, K scores, K classes."""

    boxes: Floats
    scores: Floats
    classes: Floats


def iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box (4) with others (K×4), continuous corners."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return shared / np.maximum(union, np.finfo(float).eps)


def average_precision(recall: Floats, precision: Floats, eleven: bool) -> float:
    """Of a curve by falling score.

    Args:
        recall, precision: after each detection.
        eleven: whether by VOC2007's 11 points; otherwise by area.
    """
    if eleven:
        return (
            sum(float(precision[recall >= t].max(initial=0)) for t in np.arange(0, 1.1, 0.1)) / 11
        )
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * envelope).sum())


def _hits(
    records: list[Record], found: dict[str, Detections], category: int
) -> tuple[int, list[Floats]]:
    """How many truths of a class there are to find, and for each threshold which detections, by falling score, are
    right; those of difficult truths are left out.
    """
    truths, difficult = {}, {}
    for record in records:
        boxes = [box for box in record.boxes if box.category == category]
        truths[record.id] = np.array([[b.x1, b.y1, b.x2, b.y2] for b in boxes], float).reshape(
            -1, 4
        )
        difficult[record.id] = [b.difficult for b in boxes]
    answers = [
        (float(score), id, box)
        for id, seen in found.items()
        for box, score, label in zip(seen.boxes, seen.scores, seen.classes, strict=True)
        if label == category
    ]
    answers.sort(key=lambda answer: -answer[0])
    best = []  # of each answer: image, truth and overlap
    for _, id, box in answers:
        overlaps = iou(np.asarray(box, float), truths[id])
        most = int(overlaps.argmax()) if len(overlaps) else -1
        best.append((id, most, overlaps[most] if len(overlaps) else 0.0))
    hits = []
    for threshold in THRESHOLDS:
        taken: set[tuple[str, int]] = set()
        right = []
        for id, truth, overlap in best:
            if overlap <= threshold:
                right.append(False)
            elif not difficult[id][truth]:
                right.append((id, truth) not in taken)
                taken.add((id, truth))
        hits.append(np.array(right, bool))
    return sum(not hard for hards in difficult.values() for hard in hards), hits


def _voc(split: Split, found: dict[str, Detections]) -> Floats:
    """AP by threshold and class; NaN for a class without a truth to find."""
    table = np.full((len(THRESHOLDS), len(split.classes)), np.nan)
    for category in range(len(split.classes)):
        total, hits = _hits(split.records, found, category)
        for row, hit in enumerate(hits if total else ()):
            right = np.cumsum(hit)
            precision = right / np.arange(1, len(hit) + 1)
            table[row, category] = average_precision(right / total, precision, split.eleven)
    return table


def _coco(split: Split, found: dict[str, Detections]) -> Floats:
    """The same by COCO's own code: 101 points, at most 100 detections an image, crowds ignored."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {record.id: number for number, record in enumerate(split.records, 1)}
    truth, answers = COCO(), COCO()
    for api, boxes in ((truth, _truths(split, numbers)), (answers, _answers(found, numbers))):
        api.dataset = {
            "images": [{"id": number} for number in numbers.values()],
            "categories": [{"id": category} for category in range(len(split.classes))],
            "annotations": [{"id": number, **box} for number, box in enumerate(boxes, 1)],
        }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        answers.createIndex()
        judge = COCOeval(truth, answers, "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][
        :, :, :, 0, -1
    ]  # threshold × recall × class; -1 where there is no truth
    return np.where(precision < 0, np.nan, precision).mean(1)


def _truths(split: Split, numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    for record in split.records:
        for box in record.boxes:
            corners = np.array([box.x1, box.y1, box.x2, box.y2])
            yield _entry(numbers[record.id], corners, box.category) | {"iscrowd": int(box.crowd)}


def _answers(found: dict[str, Detections], numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    for id, seen in found.items():
        for box, score, category in zip(seen.boxes, seen.scores, seen.classes, strict=True):
            yield _entry(numbers[id], box, int(category)) | {"score": float(score)}


def _entry(image: int, corners: Floats, category: int) -> dict[str, Any]:
    x, y, width, height = (float(value) for value in (*corners[:2], *(corners[2:] - corners[:2])))
    return {
        "image_id": image,
        "category_id": category,
        "bbox": [x, y, width, height],
        "area": width * height,
    }


def score(split: Split, found: dict[str, Detections]) -> dict[str, float]:
    """AP (mean over thresholds), AP50 and AP75, over classes with a truth, and AP50 per class; all in 0–1. COCO's
    definition for COCO JSON, VOC's otherwise.

    Args:
        split: with at least one truth that is neither difficult nor a crowd.
        found: detections by image id; an image may lack.
    """
    table = (_voc if split.coco is None else _coco)(split, found)
    by_threshold = np.nanmean(table, axis=1)
    means = {
        "AP": by_threshold.mean(),
        "AP50": by_threshold[THRESHOLDS.index(0.5)],
        "AP75": by_threshold[THRESHOLDS.index(0.75)],
    }
    per_class = {
        f"AP50/{name}": ap
        for name, ap in zip(split.classes, table[0], strict=True)
        if not np.isnan(ap)
    }
    return {name: float(value) for name, value in (means | per_class).items()}
