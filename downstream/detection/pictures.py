"""Detections drawn on their images, the truth beside them."""

import colorsys
from pathlib import Path

from PIL import Image, ImageDraw

import zoo.data.images
from downstream.detection.annotations import AnnotatedImage, Corners
from downstream.detection.scores import Detections
from zoo.utils.files import new_file

_MIN_SCORE = 0.5  # of a detection that is drawn
_GAP = 8  # pixels between the two sides


def draw(
    image: AnnotatedImage, detections: Detections, classes: list[str], path: str | Path
) -> None:
    """Write a picture: the truth on the left, detections with their scores on the right.

    Difficult truths are marked; detections that score below 0.5 are left out.

    Args:
        image: with the true boxes.
        detections: in this image.
        classes: names by category.
        path: a PNG file.
    """
    photo = zoo.data.images.read(image.path)
    both = Image.new("RGB", (2 * photo.width + _GAP, photo.height), "white")
    truth = photo.copy()
    for box in image.boxes:
        note = "difficult" if box.difficult else ""
        _draw_box(truth, box.corners, box.category, note, classes)
    both.paste(truth, (0, 0))
    predicted = photo.copy()
    for corners, score, category in detections.rows():
        if score >= _MIN_SCORE:
            _draw_box(predicted, corners, category, f"{score:.2f}", classes)
    both.paste(predicted, (photo.width + _GAP, 0))
    with new_file(path) as temporary:
        both.save(temporary, format="PNG")


def _draw_box(
    photo: Image.Image, corners: Corners, category: int, note: str, classes: list[str]
) -> None:
    color = _color(category, len(classes))
    text = f"{classes[category]} {note}".strip()
    pen = ImageDraw.Draw(photo)
    pen.rectangle(corners, outline=color, width=2)
    pen.text((corners[0] + 3, corners[1] + 1), text, fill=color)


def _color(category: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(category / max(count, 1), 1, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
