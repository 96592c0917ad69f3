"""Folders in the format of PASCAL VOC: ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, ``JPEGImages/``.

Everingham et al. 2010, http://host.robots.ox.ac.uk/pascal/VOC/. Corners are 1-based and inclusive there; as continuous
coordinates, a box is [xmin − 1, xmax] × [ymin − 1, ymax]. A box that reaches over the border is clipped to the image.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from downstream.detection.records import Box, Faults, Record, Split, fit_box, image_size
from zoo import DataError
from zoo.data.images import SUFFIXES

_PAIRS = (
    ("trainval", "test"),
    ("train", "test"),
    ("train", "val"),
)  # what to train and test on, best first


def is_voc(root: Path) -> bool:
    """Whether a folder is laid out like VOC."""
    return (root / "Annotations").is_dir()


def splits(root: Path) -> tuple[str, str]:
    """The splits to train and to test on.

    Raises:
        DataError: if there are none that do not overlap.
    """
    lists = root / "ImageSets" / "Main"
    for train, test in _PAIRS:
        if (lists / f"{train}.txt").is_file() and (lists / f"{test}.txt").is_file():
            return train, test
    there = ", ".join(sorted(path.name for path in lists.glob("*.txt"))) or "nothing"
    raise DataError(
        f"{lists}: expected trainval.txt and test.txt (or train.txt and val.txt), found {there}"
    )


def _parse(path: Path) -> ElementTree.Element:
    """The root element. Entities are refused where they are declared: expanded, a few could fill the memory.

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


def _names(root: ElementTree.Element) -> set[str]:
    return {
        name for thing in root.findall("object") if (name := (thing.findtext("name") or "").strip())
    }


def _object(
    thing: ElementTree.Element, classes: list[str], width: int, height: int
) -> tuple[Box, bool]:
    """The box of an ``<object>``, and whether it was clipped."""
    name = _text(thing, "name")
    if name not in classes:
        raise ValueError(f"unknown class {name!r}; the classes are {', '.join(classes) or 'none'}")
    frame = thing.find("bndbox")
    if frame is None:
        raise ValueError(f"an object of class {name!r} lacks <bndbox>")
    x1, y1, x2, y2 = (_number(frame, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    corners = (x1 - 1, y1 - 1, x2, y2)
    fitted = fit_box(corners, width, height)
    difficult = (thing.findtext("difficult") or "0").strip() not in ("0", "")
    return Box(*fitted, classes.index(name), difficult), fitted != corners


def _size(root: ElementTree.Element, image: Path) -> tuple[int, int]:
    said = root.find("size")
    if said is None:
        raise ValueError("<annotation> lacks <size>")
    width, height = int(_number(said, "width")), int(_number(said, "height"))
    found = image_size(image)
    if (width, height) != found:
        raise ValueError(
            f"<size> is {width}×{height}, but {image.name} has {found[0]}×{found[1]} pixels"
        )
    return width, height


def _record(
    root: ElementTree.Element,
    annotation: Path,
    id: str,
    image: Path,
    classes: list[str],
    faults: Faults,
) -> tuple[Record | None, int]:
    try:
        width, height = _size(root, image)
    except (ValueError, OverflowError) as error:
        faults.add(annotation, str(error))
        return None, 0
    except OSError as error:
        faults.add(image, f"cannot be read as an image ({error})")
        return None, 0
    boxes, clipped = [], 0
    for thing in root.findall("object"):
        try:
            box, cut = _object(thing, classes, width, height)
        except ValueError as error:
            faults.add(annotation, str(error))
        else:
            boxes.append(box)
            clipped += cut
    return Record(id, image, width, height, boxes), clipped


def _ids(root: Path, split: str) -> list[str]:
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    try:
        ids = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    twice = sorted({id for id in ids if ids.count(id) > 1}) if len(set(ids)) < len(ids) else []
    if twice or not ids:
        what = f"lists {', '.join(twice[:5])} twice" if twice else "lists no images"
        raise DataError(f"{path}: {what}; expected one image name a line")
    return ids


def read(root: Path, split: str, faults: Faults, classes: list[str] | None = None) -> Split:
    """The images and boxes of a split. What is wrong is added to ``faults``, each with its file.

    Args:
        root: the VOC folder.
        split: a list in ``ImageSets/Main``.
        faults: of the whole data set.
        classes: names that may occur; by default all that do, in alphabetical order.

    Raises:
        DataError: if the list of images itself cannot be used.
    """
    images = {
        path.stem: path
        for path in sorted((root / "JPEGImages").glob("*"))
        if path.suffix.lower() in SUFFIXES
    }
    trees: dict[str, ElementTree.Element] = {}
    for id in _ids(root, split):
        annotation = root / "Annotations" / f"{id}.xml"
        try:
            trees[id] = _parse(annotation)
        except (ValueError, OSError) as error:
            faults.add(
                annotation, "no such file" if isinstance(error, FileNotFoundError) else str(error)
            )
    names = (
        sorted(set().union(*(_names(tree) for tree in trees.values())))
        if classes is None
        else classes
    )
    records, clipped = [], 0
    for id, tree in trees.items():
        image = images.get(id, root / "JPEGImages" / f"{id}.jpg")
        record, cut = _record(tree, root / "Annotations" / f"{id}.xml", id, image, names, faults)
        clipped += cut
        records += [record] if record is not None else []
    return Split(split, names, records, eleven=root.name == "VOC2007", clipped=clipped)
