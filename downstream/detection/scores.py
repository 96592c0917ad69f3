"""Average precision as PASCAL VOC defines it, over IoU thresholds 0.50 to 0.95.

A detection counts if it overlaps a truth of its class by more than the threshold and that one is not yet taken; more
on the same truth are false, difficult truths count neither way. VOC2007 averages the precision at 11 recalls, later
years take the area under its envelope (Everingham et al. 2010, section 4.2; the devkit's VOCevaldet.m).
"""

from collections import defaultdict
from dataclasses import dataclass

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
        return sum(float(precision[recall >= t].max(initial=0)) for t in np.arange(0, 1.1, 0.1)) / 11
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * envelope).sum())


def _class_ap(
    records: list[Record], found: dict[str, Detections], category: int, threshold: float, eleven: bool
) -> float | None:
    """AP of one class, or None if there is no truth to find."""
    truths, difficult = {}, {}
    for record in records:
        boxes = [box for box in record.boxes if box.category == category]
        truths[record.id] = np.array([[b.x1, b.y1, b.x2, b.y2] for b in boxes], float).reshape(-1, 4)
        difficult[record.id] = [b.difficult or b.crowd for b in boxes]
    total = sum(not hard for hards in difficult.values() for hard in hards)
    if total == 0:
        return None
    answers = [
        (float(score), id, box)
        for id, seen in found.items()
        for box, score, label in zip(seen.boxes, seen.scores, seen.classes, strict=True)
        if label == category
    ]
    answers.sort(key=lambda answer: -answer[0])
    taken: dict[str, set[int]] = defaultdict(set)
    hits = []
    for _, id, box in answers:
        overlaps = iou(np.asarray(box, float), truths[id])
        best = int(overlaps.argmax()) if len(overlaps) else -1
        if best < 0 or overlaps[best] <= threshold:
            hits.append(False)
        elif not difficult[id][best]:
            hits.append(best not in taken[id])
            taken[id].add(best)
    right = np.cumsum(hits)
    return average_precision(right / total, right / np.arange(1, len(hits) + 1), eleven)


def score(split: Split, found: dict[str, Detections]) -> dict[str, float]:
    """AP (mean over thresholds), AP50 and AP75, over classes with a truth, and AP50 per class; all in 0–1.

    Args:
        split: with the truth.
        found: detections by image id; an image may lack.
    """
    table: dict[float, list[float]] = defaultdict(list)
    per_class: dict[str, float] = {}
    for category, name in enumerate(split.classes):
        for threshold in THRESHOLDS:
            ap = _class_ap(split.records, found, category, threshold, split.eleven)
            if ap is not None:
                table[threshold].append(ap)
                if threshold == THRESHOLDS[0]:
                    per_class[f"AP50/{name}"] = ap
    mean = {threshold: float(np.mean(values)) for threshold, values in table.items()}
    return {"AP": float(np.mean(list(mean.values()))), "AP50": mean[0.5], "AP75": mean[0.75], **per_class}
