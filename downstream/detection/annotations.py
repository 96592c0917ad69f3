"""Images with boxes, from a VOC folder or COCO JSON.

Plain Python: detectron2 is not needed to check a data set.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.data.image_files import open_image, open_regular

_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112  # the EXIF tag
_MAX_LISTED = 20  # faults listed before "and N more"
_NO = {"", "0", "0.0", "false", "no", "n", "f", "none", "null", "unspecified", "unknown"}
_YES = {"1", "1.0", "true", "yes", "y", "t"}

Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2 in continuous pixel coordinates."""


@dataclass(frozen=True)
class Box:
    """One object: 0 ≤ x1 < x2 ≤ width in continuous pixel coordinates, and likewise y.

    Attributes:
        x1: left side.
        y1: upper side.
        x2: right side.
        y2: lower side.
        category: index into the classes of the split.
        difficult: whether it does not count when scoring (VOC).
        crowd: whether it stands for many objects, and is not trained on (COCO).
        clipped: whether it reached over the border of its image and was cut.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    category: int
    difficult: bool = False
    crowd: bool = False
    clipped: bool = field(default=False, repr=False)  # the digest of a data set is made of reprs

    @property
    def corners(self) -> Corners:
        """The four sides as x1, y1, x2, y2."""
        return self.x1, self.y1, self.x2, self.y2


@dataclass(frozen=True)
class AnnotatedImage:
    """One image and its boxes.

    Attributes:
        id: unique in the data set.
        path: the image file.
        width: in pixels, as the image is to be seen.
        height: in pixels.
        boxes: in the order of the file.
        annotation: the file that says so.
    """

    id: str
    path: Path
    width: int
    height: int
    boxes: list[Box]
    annotation: Path | None = None


@dataclass(frozen=True)
class DetectionSplit:
    """The images of one split.

    Attributes:
        name: as ``trainval`` or ``2007 trainval+2012 trainval``.
        classes: names; boxes have indices into them.
        images: with their boxes.
        coco_json: the file that they come from; None for VOC.
        eleven_point: whether average precision is VOC2007's, over 11 recalls.
        empty_boxes: how many boxes had no area and were left out.
        left_out: what is wrong with the images that were left out, a line each.
        notes: what was assumed of the data set, a whole sentence each.
    """

    name: str
    classes: list[str]
    images: list[AnnotatedImage]
    coco_json: Path | None = None
    eleven_point: bool = False
    empty_boxes: int = 0
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def boxes(self) -> list[Box]:
        """All boxes of all images."""
        boxes = []
        for image in self.images:
            boxes += image.boxes
        return boxes

    @property
    def clipped(self) -> int:
        """How many boxes reached over the border of their image and were cut."""
        return sum(box.clipped for box in self.boxes())


@dataclass
class Faults:
    """Everything wrong with a data set, collected so that it can be put right in one go.

    Attributes:
        lines: one for each fault.
        skip_bad: whether an image with a fault is left out instead.
        skipped: the first fault of each image that is left out, by its path.
    """

    lines: list[str] = field(default_factory=list)
    skip_bad: bool = False
    skipped: dict[Path, str] = field(default_factory=dict)

    def add(self, path: Path, message: str, image: Path | None = None) -> None:
        """Note what is wrong with a file.

        Args:
            path: of the file.
            message: what is wrong.
            image: the image that could be left out for it, if there is one.
        """
        line = f"{path}: {message}"
        if self.skip_bad and image is not None:
            self.skipped.setdefault(image, line)
        else:
            self.lines.append(line)

    def __str__(self) -> str:
        text = "\n  ".join(self.lines[:_MAX_LISTED])
        if len(self.lines) > _MAX_LISTED:
            text += f"\n  and {len(self.lines) - _MAX_LISTED} more"
        return text


class EmptyBoxError(ValueError):
    """A box without area: nothing to train on or to find, as published data sets have some."""


def parse_flag(value: object, name: str) -> bool:
    """Read a yes or no as exporters write it; what says neither is no yes.

    Args:
        value: from an annotation; None where it lacks.
        name: of the value, for the message.

    Raises:
        ValueError: if it is none of the known words.

    Example:
        >>> parse_flag("1", "difficult"), parse_flag("Unspecified", "difficult")
        (True, False)
    """
    text = "" if value is None else str(value).strip().lower()
    if text in _NO:
        return False
    if text in _YES:
        return True
    raise ValueError(f"{name} is {value!r}, expected 0 or 1")


def image_size(path: Path) -> tuple[int, int]:
    """Read the width and height of an image as it is to be seen (EXIF), from its header.

    Raises:
        OSError: if it is missing or no image.
        ValueError: if it is refused, as too large for one.
    """
    try:
        with open_regular(path) as file, open_image(file) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
                return height, width
            return width, height
    except (SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def fit_box(
    corners: Corners,
    size: tuple[int, int],
    category: int,
    *,
    difficult: bool = False,
    crowd: bool = False,
) -> Box:
    """Make a box that is clipped to its image.

    Args:
        corners: x1, y1, x2, y2.
        size: width and height of the image.
        category: index of its class.
        difficult: whether it does not count when scoring.
        crowd: whether it stands for many objects.

    Raises:
        EmptyBoxError: for a box without area, or with none inside of the image that it touches.
        ValueError: for a box that is not finite, inverted or wholly outside.

    Example:
        >>> box = fit_box((-5.0, 2.0, 30.0, 40.0), (64, 48), 0)
        >>> box.corners, box.clipped
        ((0.0, 2.0, 30.0, 40.0), True)
    """
    x1, y1, x2, y2 = corners
    width, height = size
    if not np.isfinite(corners).all():
        raise ValueError(f"box {corners} has a value that is no number")
    if x2 < x1 or y2 < y1:
        raise ValueError(
            f"box {corners} is inverted or empty: its end does not lie after its start"
        )
    if x2 < 0 or y2 < 0 or x1 > width or y1 > height:
        raise ValueError(f"box {corners} lies outside of the image of {width}×{height}")
    if x2 == x1 or y2 == y1 or x2 == 0 or y2 == 0 or x1 == width or y1 == height:
        raise EmptyBoxError(f"box {corners} has no area in the image of {width}×{height}")
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    return Box(*inside, category, difficult=difficult, crowd=crowd, clipped=inside != corners)
