"""Images with boxes, from a VOC folder or COCO JSON. Plain Python: detectron2 is not needed to check a data set."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
_SHOWN = 20  # faults listed before "and N more"


@dataclass(frozen=True)
class Box:
    """Corners in continuous pixel coordinates (0 ≤ x1 < x2 ≤ width, likewise y); difficult ones do not count when
    scoring, crowds (COCO) are not trained on.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    category: int
    difficult: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class Record:
    """One image: an id that is unique in its data set, the file, its size in pixels, and its boxes."""

    id: str
    file: Path
    width: int
    height: int
    boxes: list[Box]


@dataclass(frozen=True)
class Split:
    """The images of one split. ``coco`` is the JSON file they come from, if any; ``eleven`` asks for VOC2007's metric;
    ``clipped`` counts the boxes that reached over the border of their image and were cut.
    """

    name: str
    classes: list[str]
    records: list[Record]
    coco: Path | None = None
    eleven: bool = False
    clipped: int = 0


@dataclass
class Faults:
    """Everything wrong with a data set, collected so that it can be put right in one go."""

    lines: list[str] = field(default_factory=list)

    def add(self, file: Path, what: str) -> None:
        self.lines.append(f"{file}: {what}")

    def __str__(self) -> str:
        more = f"\n  and {len(self.lines) - _SHOWN} more" if len(self.lines) > _SHOWN else ""
        return "\n  ".join(self.lines[:_SHOWN]) + more


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file as it is to be seen (EXIF), from its header.

    Raises:
        OSError: if it is missing or no image.
    """
    with Image.open(path) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(_ORIENTATION) in _TURNED else (width, height)


def fit_box(
    corners: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    """Corners clipped to the image.

    Args:
        corners: x1, y1, x2, y2, continuous.

    Raises:
        ValueError: for a box that is not finite, inverted, empty or wholly outside.
    """
    x1, y1, x2, y2 = corners
    if not np.isfinite(corners).all():
        raise ValueError(f"box {corners} has a value that is no number")
    if x2 <= x1 or y2 <= y1:
        raise ValueError(
            f"box {corners} is inverted or empty: its end does not lie after its start"
        )
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise ValueError(f"box {corners} lies outside of the image of {width}×{height}")
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
