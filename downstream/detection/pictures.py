"""Detections drawn on their images, the truth beside them."""

import colorsys
from pathlib import Path

from PIL import Image, ImageDraw

import zoo.data.images
from downstream.detection.records import Record
from downstream.detection.scores import Detections
from zoo.utils.files import new_file

_LEAST = 0.5  # score of a detection that is drawn


def _color(category: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(category / max(count, 1), 1, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(record: Record, found: Detections, classes: list[str], path: Path) -> None:
    """Write a picture: the truth on the left (difficult ones marked), detections with their scores on the right.

    Args:
        path: a PNG file.
    """
    image = zoo.data.images.read(record.file)
    truth = [
        ((b.x1, b.y1, b.x2, b.y2), b.category, "difficult" if b.difficult else "")
        for b in record.boxes
    ]
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    seen = [
        (tuple(box), int(label), f"{score:.2f}") for box, score, label in rows if score >= _LEAST
    ]
    both = Image.new("RGB", (2 * image.width + 8, image.height), "white")
    for at, boxes in ((0, truth), (image.width + 8, seen)):
        side = image.copy()
        pen = ImageDraw.Draw(side)
        for box, category, note in boxes:
            color = _color(category, len(classes))
            pen.rectangle(box, outline=color, width=2)
            pen.text((box[0] + 3, box[1] + 1), f"{classes[category]} {note}".strip(), fill=color)
        both.paste(side, (at, 0))
    with new_file(path) as aside:
        both.save(aside, format="PNG")
