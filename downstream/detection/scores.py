"""Average precision as PASCAL VOC defines it, or as COCO does, over IoU thresholds 0.50 to 0.95.

For VOC, a detection counts if it overlaps a truth of its class by more than the threshold and that
one is not yet taken; more on the same truth are false, difficult truths count neither way. VOC2007
averages the precision at 11 recalls, later years take the area under its envelope (Everingham et
al. 2010, section 4.2; the devkit's VOCevaldet.m). COCO's definition is computed by its authors'
library, pycocotools.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from downstream.detection.annotations import AnnotatedImage, Corners, DetectionSplit

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Detections:
    """What a detector sees in one image.

    Attributes:
        boxes: K×4 corners (x1, y1, x2, y2), continuous pixel coordinates.
        scores: K confidences.
        categories: K indices into the classes.
    """

    boxes: Floats
    scores: Floats
    categories: NDArray[np.integer[Any]]

    def rows(self) -> Iterator[tuple[Corners, float, int]]:
        """Iterate over the detections.

        Yields:
            Corners, score and category of each.
        """
        columns = (self.boxes.tolist(), self.scores.tolist(), self.categories.tolist())
        for corners, score, category in zip(*columns, strict=True):
            yield tuple(corners), score, category


@dataclass(frozen=True)
class MatchedDetections:
    """Which detections of one class are right.

    Attributes:
        num_truths: boxes to find: those that are not difficult.
        correct: for each IoU threshold, whether each detection is right, by falling score. Those of
            difficult truths are left out.
    """

    num_truths: int
    correct: list[NDArray[np.bool_]]


@dataclass(frozen=True)
class _Candidate:
    """A detection and the truth of its class that it overlaps most, by its place in the image."""

    image_id: str
    score: float
    truth: int
    overlap: float


def score(split: DetectionSplit, detections: Mapping[str, Detections]) -> dict[str, float]:
    """Score detections by COCO's definition for COCO JSON, and by VOC's otherwise.

    Args:
        split: with at least one truth that is neither difficult nor a crowd.
        detections: by image id; an image may lack.

    Returns:
        ``AP`` (mean over thresholds), ``AP50`` and ``AP75``, over classes with a truth, and
        ``AP50/CLASS`` for each of these; all in 0–1.
    """
    if split.coco_json is None:
        table = voc_average_precisions(split, detections)
    else:
        table = coco_average_precisions(split, detections)
    by_threshold = np.nanmean(table, axis=1)
    metrics = {
        "AP": float(by_threshold.mean()),
        "AP50": float(by_threshold[THRESHOLDS.index(0.5)]),
        "AP75": float(by_threshold[THRESHOLDS.index(0.75)]),
    }
    for name, value in zip(split.classes, table[THRESHOLDS.index(0.5)], strict=True):
        if not np.isnan(value):
            metrics[f"AP50/{name}"] = float(value)
    return metrics


def box_iou(box: Floats, others: Floats) -> Floats:
    """Compute the intersection over union of one box with others.

    Args:
        box: 4 corners, continuous.
        others: K×4 corners.

    Returns:
        K values in 0–1.
    """
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    intersection = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod()
    other_areas = (others[:, 2:] - others[:, :2]).prod(1)
    union = area + other_areas - intersection
    overlaps: Floats = intersection / np.maximum(union, np.finfo(float).eps)
    return overlaps


def average_precision(recall: Floats, precision: Floats, *, eleven_point: bool) -> float:
    """Summarise a precision-recall curve as VOC does (Everingham et al. 2010, section 4.2).

    Args:
        recall: after each detection, by falling score.
        precision: after each detection.
        eleven_point: whether by VOC2007's mean over 11 recalls; otherwise by the area under the
            envelope.

    Example:
        >>> recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
        >>> round(average_precision(recall, precision, eleven_point=False), 4)
        0.8333
    """
    if eleven_point:
        total = 0.0
        for least in np.arange(0, 1.1, 0.1):
            total += float(precision[recall >= least].max(initial=0))
        return total / 11
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * envelope).sum())


def match_detections(
    images: Sequence[AnnotatedImage], detections: Mapping[str, Detections], category: int
) -> MatchedDetections:
    """Decide which detections of a class are right, as VOC does.

    Args:
        images: with their true boxes.
        detections: by image id.
        category: of the class.
    """
    truths = {}
    difficult = {}
    num_truths = 0
    for image in images:
        boxes = [box for box in image.boxes if box.category == category]
        truths[image.id] = np.array([box.corners for box in boxes], float).reshape(-1, 4)
        difficult[image.id] = [box.difficult for box in boxes]
        num_truths += difficult[image.id].count(False)
    candidates = _candidates(truths, detections, category)
    correct = []
    for threshold in THRESHOLDS:
        taken = set()
        decisions = []
        for candidate in candidates:
            key = (candidate.image_id, candidate.truth)
            if candidate.overlap <= threshold:
                decisions.append(False)
            elif not difficult[candidate.image_id][candidate.truth]:
                decisions.append(key not in taken)
                taken.add(key)
        correct.append(np.array(decisions, bool))
    return MatchedDetections(num_truths, correct)


def _candidates(
    truths: dict[str, Floats], detections: Mapping[str, Detections], category: int
) -> list[_Candidate]:
    """The detections of a class by falling score."""
    candidates = []
    for image_id, in_image in detections.items():
        for corners, confidence, label in in_image.rows():
            if label != category:
                continue
            truth = -1
            overlap = 0.0
            if len(truths[image_id]):
                overlaps = box_iou(np.array(corners), truths[image_id])
                truth = int(overlaps.argmax())
                overlap = float(overlaps[truth])
            candidates.append(_Candidate(image_id, confidence, truth, overlap))
    return sorted(candidates, key=attrgetter("score"), reverse=True)


def voc_average_precisions(
    split: DetectionSplit, detections: Mapping[str, Detections]
) -> NDArray[np.float64]:
    """Compute VOC's average precision, with the metric of the split's year.

    Returns:
        Thresholds × classes; NaN for a class without a truth to find.
    """
    table = np.full((len(THRESHOLDS), len(split.classes)), np.nan)
    for category in range(len(split.classes)):
        matched = match_detections(split.images, detections, category)
        if not matched.num_truths:
            continue
        for row, correct in enumerate(matched.correct):
            hits = np.cumsum(correct)
            table[row, category] = average_precision(
                hits / matched.num_truths,
                hits / np.arange(1, len(correct) + 1),
                eleven_point=split.eleven_point,
            )
    return table


def coco_average_precisions(
    split: DetectionSplit, detections: Mapping[str, Detections]
) -> NDArray[np.float64]:
    """Compute COCO's average precision: 101 points, 100 detections an image, crowds ignored.

    Returns:
        Thresholds × classes; NaN for a class without a truth to find.
    """
    from pycocotools.cocoeval import COCOeval

    numbers = {image.id: number for number, image in enumerate(split.images, 1)}
    truths = _coco_api(split, numbers, _coco_truths(split, numbers))
    results = _coco_api(split, numbers, _coco_results(detections, numbers))
    with contextlib.redirect_stdout(io.StringIO()):
        truths.createIndex()
        results.createIndex()
        evaluation = COCOeval(truths, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # threshold × recall × class, for boxes of all sizes; -1 where there is no truth
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    table: NDArray[np.float64] = np.where(precision < 0, np.nan, precision).mean(1)
    return table


def _coco_api(
    split: DetectionSplit, numbers: dict[str, int], annotations: list[dict[str, Any]]
) -> Any:
    """A data set in pycocotools, which wants numbers for the images and for the boxes."""
    from pycocotools.coco import COCO

    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    api = COCO()
    api.dataset = {
        "images": [{"id": number} for number in numbers.values()],
        "categories": [{"id": category} for category in range(len(split.classes))],
        "annotations": annotations,
    }
    return api


def _coco_truths(split: DetectionSplit, numbers: dict[str, int]) -> list[dict[str, Any]]:
    annotations = []
    for image in split.images:
        for box in image.boxes:
            annotation = _coco_annotation(numbers[image.id], box.corners, box.category)
            annotation["iscrowd"] = int(box.crowd)
            annotations.append(annotation)
    return annotations


def _coco_results(
    detections: Mapping[str, Detections], numbers: dict[str, int]
) -> list[dict[str, Any]]:
    annotations = []
    for image_id, in_image in detections.items():
        for corners, confidence, category in in_image.rows():
            annotation = _coco_annotation(numbers[image_id], corners, category)
            annotation["score"] = confidence
            annotations.append(annotation)
    return annotations


def _coco_annotation(number: int, corners: Corners, category: int) -> dict[str, Any]:
    x1, y1, x2, y2 = corners
    width = x2 - x1
    height = y2 - y1
    return {
        "image_id": number,
        "category_id": category,
        "bbox": [x1, y1, width, height],
        "area": width * height,
    }
