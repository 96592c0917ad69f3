"""Whether the image files of a split are what its annotations say, before anything is trained."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from downstream.detection.annotations import AnnotatedImage, DetectionSplit, Faults
from zoo.data.images import LazyImage
from zoo.errors import DataError

_ORIENTATION = 0x0112  # the EXIF tag


def check_images(split: DetectionSplit, faults: Faults) -> DetectionSplit:
    """Decode every image, and compare its size with the annotation's.

    Args:
        split: as it was read; images that are missing have their fault already.
        faults: what is wrong is added to it, each with its file.

    Returns:
        The split without the images that were skipped, and with a note on what was assumed.
    """
    images = [image for image in split.images if image.path not in faults.skipped]
    turned = 0
    for image, (fault, is_turned) in zip(images, _inspect_all(images), strict=True):
        turned += is_turned
        if fault is None:
            continue
        path, message = fault
        faults.add(path, message, image.path)
    kept = [image for image in images if image.path not in faults.skipped]
    notes = split.notes
    if turned:
        notes += (
            f"{turned} images of {split.name} have an EXIF orientation; their boxes were taken as "
            "drawn on the upright image.",
        )
    return replace(split, images=kept, left_out=tuple(faults.skipped.values()), notes=notes)


_Inspection = tuple[tuple[Path, str] | None, bool]
"""A file and what is wrong with it, if anything; whether the image lies turned in its file."""


def _inspect_all(images: Sequence[AnnotatedImage]) -> list[_Inspection]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_inspect, images))


def _inspect(image: AnnotatedImage) -> _Inspection:
    path = image.path
    if not path.is_file():
        return None, False
    try:
        lazy = LazyImage(path)
        width, height = lazy.size
        lazy.crop((0, 0, height, width), 1)  # decodes all of it, as coarsely as the format can
    except DataError as error:
        message = str(error).removeprefix(f"{path}: ")
        if isinstance(error.__cause__, UnidentifiedImageError):
            message = f"cannot be read as an image ({message})"
        return (path, message), False
    is_turned = _is_turned(path)
    if (width, height) == (image.width, image.height):
        return None, is_turned
    return _wrong_size(image, (width, height), is_turned), is_turned


def _is_turned(path: Path) -> bool:
    with Image.open(path) as image:
        return image.getexif().get(_ORIENTATION, 1) not in (0, 1)


def _wrong_size(image: AnnotatedImage, size: tuple[int, int], is_turned: bool) -> tuple[Path, str]:
    said = f"{image.width}×{image.height}"
    actual = f"{size[0]}×{size[1]}"
    upright = " when upright, as its EXIF orientation says" if is_turned else ""
    annotation = image.annotation
    if annotation is None or annotation.suffix == ".json":
        return image.path, f"the JSON says {said}, the file has {actual} pixels{upright}"
    return (
        annotation,
        f"<size> is {said}, but {image.path.name} has {actual} pixels{upright}",
    )
