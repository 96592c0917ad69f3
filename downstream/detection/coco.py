"""Boxes in COCO's JSON: [x, y, width, height], 0-based.

Lin et al. 2014, https://cocodataset.org/#format-data.
"""

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

from downstream.detection.annotations import (
    AnnotatedImage,
    Box,
    DetectionSplit,
    Faults,
    fit_box,
)
from zoo.errors import DataError


def find_json(root: Path, split: str) -> tuple[Path, Path] | None:
    """Find the JSON file of a split and the folder of its images.

    Known layouts: COCO's own (``annotations/instances_train2017.json``, ``train2017/``; the year
    may lack) and one JSON file beside the images (``train/_annotations.coco.json``).

    Returns:
        The file and the folder, or None where there is no such split.
    """
    for path in sorted((root / "annotations").glob(f"instances_{split}*.json")):
        return path, root / path.stem.removeprefix("instances_")
    beside = root / split / "_annotations.coco.json"
    if beside.is_file():
        return beside, beside.parent
    return None


def find_splits(root: Path) -> tuple[str, str] | None:
    """Name the splits to train and to test on; None if this is no folder with COCO's JSON."""
    if find_json(root, "train") is None:
        return None
    for test in ("val", "valid", "test"):
        if find_json(root, test) is not None:
            return "train", test
    return None


def read(
    root: Path, split: str, faults: Faults, classes: list[str] | None = None
) -> DetectionSplit:
    """Read the images and boxes of a split.

    Args:
        root: the folder with the JSON files and the images.
        split: as ``train``.
        faults: what is wrong is added to it, each with its file.
        classes: names that may occur; by default all that have boxes, in the order of their ids.

    Raises:
        DataError: if the file itself cannot be used.
    """
    files = find_json(root, split)
    if files is None:
        raise DataError(f"{root}: no COCO JSON for the split {split!r}")
    path, folder = files
    content = _load_json(path)
    try:
        categories = _categories(content, all_of_them=bool(classes))
        images = _images(content, folder)
        names = classes or [name for _, name in categories]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: an image or a category is not as COCO has it ({error!r})"
        ) from error
    indices = {}
    for id, name in categories:
        if name in names:
            indices[id] = names.index(name)
    for entry in content["annotations"]:
        try:
            image = images[entry["image_id"]]
            image.boxes.append(_box(entry, indices, image))
        except KeyError as error:
            faults.add(
                path,
                f"annotation {entry.get('id')} refers to what is not there, or lacks it: {error}",
            )
        except (TypeError, ValueError) as error:
            faults.add(path, f"annotation {entry.get('id')}: {error}")
    for image in images.values():
        if not image.path.is_file():
            faults.add(image.path, "no such image")
    return DetectionSplit(split, names, list(images.values()), coco_json=path)


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        lists = [content[key] for key in ("images", "annotations", "categories")]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO JSON with images, annotations and categories ({error!r})"
        ) from error
    if not all(isinstance(part, list) for part in lists):
        raise DataError(f"{path}: not COCO JSON: images, annotations and categories must be lists")
    return content


def _categories(content: dict[str, Any], *, all_of_them: bool) -> list[tuple[int, str]]:
    """Id and name of the categories, by id; those without boxes only where all are requested."""
    used = {entry["category_id"] for entry in content["annotations"]}
    categories = []
    for entry in content["categories"]:
        if all_of_them or entry["id"] in used:
            categories.append((entry["id"], entry["name"]))
    return sorted(categories, key=itemgetter(0))


def _images(content: dict[str, Any], folder: Path) -> dict[Any, AnnotatedImage]:
    """The images by their ids, without boxes yet."""
    images = {}
    for entry in content["images"]:
        path = folder / entry["file_name"]
        width = int(entry["width"])
        height = int(entry["height"])
        images[entry["id"]] = AnnotatedImage(str(entry["id"]), path, width, height, [])
    return images


def _box(entry: dict[str, Any], indices: dict[int, int], image: AnnotatedImage) -> Box:
    x, y, width, height = (float(value) for value in entry["bbox"])
    return fit_box(
        (x, y, x + width, y + height),
        (image.width, image.height),
        indices[entry["category_id"]],
        crowd=bool(entry.get("iscrowd", 0)),
    )
