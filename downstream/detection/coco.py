"""Boxes in COCO's JSON: [x, y, width, height], 0-based.

Lin et al. 2014, https://cocodataset.org/#format-data.
"""

import json
import mmap
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from downstream.detection.annotations import (
    AnnotatedImage,
    Box,
    DetectionSplit,
    EmptyBoxError,
    Faults,
    fit_box,
    image_size,
    parse_flag,
)
from zoo.errors import DataError

_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_OTHER_KINDS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
# words that a file's name has beside that of its split
_FORMAT_WORDS = {"instances", "annotations", "annotation", "coco", "labels", "result", "bbox", ""}
ALL = "all"
"""Name of the split of a file that names none."""


def find_files(root: Path) -> dict[str, Path]:
    """Find the JSON files of a folder by the name of their split.

    They may lie in ``annotations/`` (COCO, CVAT), at the top (labelme) or beside the images
    (Roboflow: ``train/_annotations.coco.json``). The name is what the file's own has beside words
    such as ``instances``, or else that of its folder.
    """
    files: dict[str, Path] = {}
    for pattern in ("annotations/*.json", "*.json", "*/*.json"):
        for path in sorted(root.glob(pattern)):
            if path not in files.values() and _is_coco(path):
                files.setdefault(_split_name(path, root), path)
    return files


def _is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's three lists, by its text: some are too large to be parsed."""
    if path.name.startswith(("instances_", "_annotations.coco")):
        return True  # whatever is wrong with it is told when it is read
    if path.name.startswith(_OTHER_KINDS):
        return False
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return all(text.find(key) >= 0 for key in _KEYS)
    except (OSError, ValueError):  # empty, or not to be read
        return False


def _split_name(path: Path, root: Path) -> str:
    words = []
    for word in re.split(r"[_.\-]", path.stem):
        if word.lower() not in _FORMAT_WORDS:
            words.append(word)
    if words:
        return "_".join(words)
    if path.parent not in (root, root / "annotations"):
        return path.parent.name
    return ALL


def read(
    root: Path, name: str, path: Path, faults: Faults, classes: list[str] | None = None
) -> DetectionSplit:
    """Read the images and boxes of a split.

    Args:
        root: the folder with the JSON files and the images.
        name: of the split.
        path: its file.
        faults: what is wrong is added to it, each with its file.
        classes: names that may occur; by default those of the file's list of categories, in the
            order of their ids, but for one that only groups others.

    Raises:
        DataError: if the file itself cannot be used.
    """
    content = _load_json(path)
    try:
        categories = _categories(content)
        images = _images(content, _image_folders(root, name, path), path, faults)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: an image or a category is not as COCO has it ({error!r})"
        ) from error
    names = classes or list(dict.fromkeys(categories.values()))
    indices = {}
    for id, category in categories.items():
        if category in names:
            indices[id] = names.index(category)
    empty_boxes = 0
    for entry in content["annotations"]:
        image = _image_of(entry, images)
        if image is not None and image.width <= 0:
            continue  # whose fault is told already
        try:
            if image is None:
                raise KeyError(entry["image_id"])
            image.boxes.append(_box(entry, indices, image))
        except EmptyBoxError:
            empty_boxes += 1
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            faults.add(path, _wording(entry, error), image.path if image is not None else path)
    split = DetectionSplit(name, names, list(images.values()), coco_json=path)
    return replace(split, empty_boxes=empty_boxes)


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
        lists = [content[key] for key in ("images", "annotations", "categories")]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO JSON with images, annotations and categories ({error!r})"
        ) from error
    if not all(isinstance(part, list) for part in lists):
        raise DataError(f"{path}: not COCO JSON: images, annotations and categories must be lists")
    return content


def _categories(content: dict[str, Any]) -> dict[int, str]:
    """Name of each category by id, in the order of the ids.

    A category that others name as theirs and that has no boxes is a heading, not a class, as
    Roboflow writes one.
    """
    used = set()
    for entry in content["annotations"]:
        if isinstance(entry, dict):
            used.add(entry.get("category_id"))
    headings = {entry.get("supercategory") for entry in content["categories"]}
    categories = {}
    for entry in content["categories"]:
        is_heading = entry["name"] in headings and entry.get("supercategory") != entry["name"]
        if entry["id"] in used or not is_heading:
            categories[entry["id"]] = str(entry["name"])
    return dict(sorted(categories.items()))


def _image_folders(root: Path, name: str, path: Path) -> list[Path]:
    """Where images of a split may lie, best first."""
    parent = path.parent
    folders = [root / name, root / "images" / name, root / "images", root / "data", root]
    if parent not in (root, root / "annotations"):
        folders.insert(0, parent)
        folders.append(parent / "images")
    base = re.sub(r"\d{4}$", "", name)
    return [*folders, root / base, root / "images" / base]


def _images(
    content: dict[str, Any], folders: list[Path], annotation: Path, faults: Faults
) -> dict[Any, AnnotatedImage]:
    """The images by their ids, without boxes yet."""
    images: dict[Any, AnnotatedImage] = {}
    folder = folders[0]
    if content["images"]:
        folder = _folder_with(content["images"][0]["file_name"], folders) or folder
    for entry in content["images"]:
        path = folder / entry["file_name"]
        if not path.is_file():
            path = (_folder_with(entry["file_name"], folders) or folder) / entry["file_name"]
        if entry["id"] in images:
            faults.add(annotation, f"image id {entry['id']} occurs twice", path)
            continue
        if not path.is_file():
            faults.add(path, "no such image", path)
        width = int(entry.get("width") or 0)
        height = int(entry.get("height") or 0)
        if path.is_file() and (width <= 0 or height <= 0):  # not told: the file knows
            try:
                width, height = image_size(path)
            except OSError as error:
                faults.add(path, f"cannot be read as an image ({error})", path)
        image = AnnotatedImage(str(entry["id"]), path, width, height, [], annotation)
        images[entry["id"]] = image
    return images


def _folder_with(file_name: str, folders: list[Path]) -> Path | None:
    for folder in folders:
        if (folder / file_name).is_file():
            return folder
    return None


def _image_of(entry: Any, images: dict[Any, AnnotatedImage]) -> AnnotatedImage | None:
    try:
        return images.get(entry["image_id"])
    except (KeyError, TypeError):
        return None


def _wording(entry: Any, error: Exception) -> str:
    id = entry.get("id") if isinstance(entry, dict) else entry
    if isinstance(error, KeyError):
        return f"annotation {id} refers to what is not there, or lacks it: {error}"
    return f"annotation {id}: {error}"


def _box(entry: dict[str, Any], indices: dict[int, int], image: AnnotatedImage) -> Box:
    frame = entry["bbox"]
    if isinstance(frame, list) and not frame:
        raise EmptyBoxError("there is no box")
    x, y, width, height = (float(value) for value in frame)
    return fit_box(
        (x, y, x + width, y + height),
        (image.width, image.height),
        indices[entry["category_id"]],
        crowd=parse_flag(entry.get("iscrowd"), "iscrowd"),
    )
