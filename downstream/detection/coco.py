"""Boxes in COCO's JSON (Lin et al. 2014, https://cocodataset.org/#format-data): [x, y, width, height], 0-based."""

import json
from pathlib import Path
from typing import Any

from downstream.detection.records import Box, Faults, Record, Split, fit_box
from zoo import DataError


def find(root: Path, split: str) -> tuple[Path, Path] | None:
    """The JSON file of a split and the folder of its images, or None. Known layouts: COCO's own
    (``annotations/instances_train2017.json``, ``train2017/``; the year may lack) and one JSON file beside the images
    (``train/_annotations.coco.json``).
    """
    for path in sorted((root / "annotations").glob(f"instances_{split}*.json")):
        return path, root / path.stem.removeprefix("instances_")
    beside = root / split / "_annotations.coco.json"
    return (beside, beside.parent) if beside.is_file() else None


def splits(root: Path) -> tuple[str, str] | None:
    """The splits to train and to test on, or None if this is no folder with COCO's JSON."""
    for test in ("val", "valid", "test"):
        if find(root, "train") and find(root, test):
            return "train", test
    return None


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        lists = [content[key] for key in ("images", "annotations", "categories")]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO JSON with images, annotations and categories ({error!r})"
        ) from error
    if not all(isinstance(part, list) for part in lists):
        raise DataError(f"{path}: not COCO JSON: images, annotations and categories must be lists")
    return content


def _box(entry: dict[str, Any], numbers: dict[int, int], record: Record) -> tuple[Box, bool]:
    x, y, width, height = (float(value) for value in entry["bbox"])
    corners = (x, y, x + width, y + height)
    fitted = fit_box(corners, record.width, record.height)
    return Box(
        *fitted, numbers[entry["category_id"]], crowd=bool(entry.get("iscrowd", 0))
    ), fitted != corners


def read(root: Path, split: str, faults: Faults, classes: list[str] | None = None) -> Split:
    """The images and boxes of a split; like :func:`downstream.detection.voc.read`.

    Raises:
        DataError: if the file itself cannot be used, or names other classes.
    """
    found = find(root, split)
    if found is None:
        raise DataError(f"{root}: no COCO JSON for the split {split!r}")
    path, folder = found
    content = _load(path)
    try:
        used = {entry["category_id"] for entry in content["annotations"]}
        categories = [entry for entry in content["categories"] if classes or entry["id"] in used]
        categories.sort(key=lambda entry: entry["id"])
        names = [entry["name"] for entry in categories]
        records = {
            entry["id"]: Record(
                str(entry["id"]),
                folder / entry["file_name"],
                int(entry["width"]),
                int(entry["height"]),
                [],
            )
            for entry in content["images"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: an image or a category is not as COCO has it ({error!r})"
        ) from error
    order = classes or names
    numbers = {
        entry["id"]: order.index(entry["name"]) for entry in categories if entry["name"] in order
    }
    clipped = 0
    for entry in content["annotations"]:
        try:
            record = records[entry["image_id"]]
            box, cut = _box(entry, numbers, record)
        except KeyError as error:
            faults.add(
                path,
                f"annotation {entry.get('id')} refers to what is not there, or lacks it: {error}",
            )
        except (TypeError, ValueError) as error:
            faults.add(path, f"annotation {entry.get('id')}: {error}")
        else:
            record.boxes.append(box)
            clipped += cut
    for record in records.values():
        if not record.file.is_file():
            faults.add(record.file, "no such image")
    return Split(split, order, list(records.values()), coco=path, clipped=clipped)
