"""Folders in the format of PASCAL VOC: ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, images.

Everingham et al. 2010, http://host.robots.ox.ac.uk/pascal/VOC/. Corners are 1-based and inclusive
there; as continuous coordinates, a box is [xmin − 1, xmax] × [ymin − 1, ymax]. A box that reaches
over the border is clipped to the image.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from downstream.detection.annotations import (
    AnnotatedImage,
    Box,
    DetectionSplit,
    Faults,
    fit_box,
    image_size,
)
from zoo.data.images import SUFFIXES
from zoo.errors import DataError

# what to train and test on, best first
_SPLIT_PAIRS = (("trainval", "test"), ("train", "test"), ("train", "val"))


def is_voc(root: Path) -> bool:
    """Whether a folder is laid out like VOC."""
    return (root / "Annotations").is_dir()


def find_splits(root: Path) -> tuple[str, str]:
    """Name the splits to train and to test on.

    Raises:
        DataError: if there are none that do not overlap.
    """
    lists = root / "ImageSets" / "Main"
    for train, test in _SPLIT_PAIRS:
        if (lists / f"{train}.txt").is_file() and (lists / f"{test}.txt").is_file():
            return train, test
    existing = ", ".join(sorted(path.name for path in lists.glob("*.txt"))) or "nothing"
    raise DataError(
        f"{lists}: expected trainval.txt and test.txt (or train.txt and val.txt), found {existing}"
    )


def read(
    root: Path, split: str, faults: Faults, classes: list[str] | None = None
) -> DetectionSplit:
    """Read the images and boxes of a split.

    Args:
        root: the VOC folder.
        split: a list in ``ImageSets/Main``.
        faults: what is wrong is added to it, each with its file.
        classes: names that may occur; by default all that do, in alphabetical order.

    Raises:
        DataError: if the list of images itself cannot be used.
    """
    paths = {}
    for path in sorted((root / "JPEGImages").glob("*")):
        if path.suffix.lower() in SUFFIXES:
            paths[path.stem] = path
    trees = _read_annotations(root, split, faults)
    if classes is None:
        classes = _class_names(trees.values())
    images = []
    for id, tree in trees.items():
        annotation = root / "Annotations" / f"{id}.xml"
        path = paths.get(id, root / "JPEGImages" / f"{id}.jpg")
        try:
            width, height = _size(tree, path)
        except (ValueError, OverflowError) as error:
            faults.add(annotation, str(error))
        except OSError as error:
            faults.add(path, f"cannot be read as an image ({error})")
        else:
            boxes = _boxes(tree, annotation, classes, (width, height), faults)
            images.append(AnnotatedImage(id, path, width, height, boxes))
    return DetectionSplit(split, classes, images, eleven_point=root.name == "VOC2007")


def _read_annotations(root: Path, split: str, faults: Faults) -> dict[str, ElementTree.Element]:
    """The root element of each image's annotation, by the image's id."""
    trees = {}
    for id in _image_ids(root, split):
        annotation = root / "Annotations" / f"{id}.xml"
        try:
            trees[id] = _parse_xml(annotation)
        except FileNotFoundError:
            faults.add(annotation, "no such file")
        except (ValueError, OSError) as error:
            faults.add(annotation, str(error))
    return trees


def _image_ids(root: Path, split: str) -> list[str]:
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    ids: list[str] = []
    seen = set()
    repeated = set()
    for line in lines:
        id = line.strip()
        if id in seen:
            repeated.add(id)
        if id:
            ids.append(id)
            seen.add(id)
    if repeated:
        names = ", ".join(sorted(repeated)[:5])
        raise DataError(f"{path}: lists {names} twice; expected one image name a line")
    if not ids:
        raise DataError(f"{path}: lists no images; expected one image name a line")
    return ids


def _parse_xml(path: Path) -> ElementTree.Element:
    """The root element.

    Entities are refused where they are declared: expanded, a few could fill the memory.

    Raises:
        ValueError: if it is no XML, or declares entities.
        OSError: if it cannot be read.
    """

    def refuse(name: str, *_: Any) -> None:
        raise ValueError(f"declares the entity {name!r}, which annotations do not need; refused")

    content = path.read_bytes()
    checker = expat.ParserCreate()
    checker.EntityDeclHandler = refuse
    try:
        checker.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not well-formed XML ({error})") from error


def _class_names(trees: Iterable[ElementTree.Element]) -> list[str]:
    names = set()
    for tree in trees:
        for element in tree.findall("object"):
            name = (element.findtext("name") or "").strip()
            if name:
                names.add(name)
    return sorted(names)


def _size(tree: ElementTree.Element, path: Path) -> tuple[int, int]:
    """Width and height, which the annotation and the image file must agree on."""
    element = tree.find("size")
    if element is None:
        raise ValueError("<annotation> lacks <size>")
    width = int(_number(element, "width"))
    height = int(_number(element, "height"))
    actual = image_size(path)
    if (width, height) != actual:
        raise ValueError(
            f"<size> is {width}×{height}, but {path.name} has {actual[0]}×{actual[1]} pixels"
        )
    return width, height


def _boxes(
    tree: ElementTree.Element,
    annotation: Path,
    classes: list[str],
    size: tuple[int, int],
    faults: Faults,
) -> list[Box]:
    boxes = []
    for element in tree.findall("object"):
        try:
            boxes.append(_box(element, classes, size))
        except ValueError as error:
            faults.add(annotation, str(error))
    return boxes


def _box(element: ElementTree.Element, classes: list[str], size: tuple[int, int]) -> Box:
    """The box of an ``<object>``."""
    name = _text(element, "name")
    if name not in classes:
        raise ValueError(f"unknown class {name!r}; the classes are {', '.join(classes) or 'none'}")
    frame = element.find("bndbox")
    if frame is None:
        raise ValueError(f"an object of class {name!r} lacks <bndbox>")
    x1 = _number(frame, "xmin") - 1
    y1 = _number(frame, "ymin") - 1
    x2 = _number(frame, "xmax")
    y2 = _number(frame, "ymax")
    difficult = (element.findtext("difficult") or "0").strip() not in ("0", "")
    return fit_box((x1, y1, x2, y2), size, classes.index(name), difficult=difficult)


def _text(element: ElementTree.Element, tag: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise ValueError(f"<{element.tag}> lacks <{tag}>")
    return text


def _number(element: ElementTree.Element, tag: str) -> float:
    text = _text(element, tag)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"<{tag}> is {text!r}, expected a number") from None
