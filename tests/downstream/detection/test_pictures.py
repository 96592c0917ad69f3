"""Detections drawn beside the truth."""

import dataclasses

import numpy as np
from PIL import Image

from downstream.detection.annotations import Box
from downstream.detection.data import read_splits
from downstream.detection.pictures import draw
from downstream.detection.scores import Detections


def test_a_picture_has_the_truth_on_the_left_and_confident_detections_on_the_right(voc, tmp_path):
    train, _ = read_splits(voc)
    record = dataclasses.replace(train.images[0], boxes=[Box(4, 4, 20, 20, 0)])
    found = Detections(
        np.array([[30, 30, 50, 40], [2, 2, 9, 9]]), np.array([0.9, 0.4]), np.array([1, 1])
    )
    draw(record, found, ["a", "b"], tmp_path / "p" / "x.png")
    plain = np.asarray(Image.open(record.path)).astype(int)
    drawn = np.asarray(Image.open(tmp_path / "p" / "x.png")).astype(int)
    left, right = drawn[:, :64] != plain, drawn[:, 72:] != plain
    assert left[4, 4:20].any(1).all() and not left[21:].any() and not left[:, 40:].any()
    assert right[30, 30:50].any(1).all() and not right[:20].any()  # below 0.5 nothing is drawn
