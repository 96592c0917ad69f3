"""Folders in the format of PASCAL VOC: ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, images.

Everingham et al. 2010, http://host.robots.ox.ac.uk/pascal/VOC/. Corners are 1-based and inclusive
there; as continuous coordinates, a box is [xmin − 1, xmax] × [ymin − 1, ymax]. A box that reaches
over the border is clipped to the image.
"""

from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, EntitiesForbidden
from defusedxml import ElementTree as DefusedElementTree

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
from downstream.detection.voc_layout import VocFolder


def read(
    root: Path, split: str, faults: Faults, classes: list[str] | None = None
) -> DetectionSplit:
    """Read the images and boxes of a split.

    Args:
        root: the VOC folder.
        split: its name, see :class:`~downstream.detection.voc_layout.VocFolder`.
        faults: what is wrong is added to it, each with its file.
        classes: names that may occur; by default those of the folder's list of classes, or else
            all that do, in alphabetical order.

    Raises:
        DataError: if the list of images itself cannot be used.
    """
    folder = VocFolder(root)
    trees = _read_annotations(folder, split, faults)
    classes = classes or folder.classes or _class_names(trees.values())
    images = []
    empty_boxes = 0
    for id, tree in trees.items():
        annotation = folder.annotation(id)
        path = annotation
        try:
            path = folder.image(id)
            width, height = _size(tree, path)
        except (ValueError, OverflowError) as error:
            faults.add(annotation, str(error), path)
            continue
        except OSError as error:
            faults.add(path, f"cannot be read as an image ({error})", path)
            continue
        if not path.is_file():
            faults.add(path, "no such image", path)
        image = AnnotatedImage(id, path, width, height, [], annotation)
        empty_boxes += _add_boxes(tree, image, classes, faults)
        images.append(image)
    return DetectionSplit(
        split, classes, images, eleven_point=root.name == "VOC2007", empty_boxes=empty_boxes
    )


def _read_annotations(folder: VocFolder, split: str, faults: Faults) -> dict[str, Element]:
    """The root element of each image's annotation, by the image's id."""
    trees = {}
    for id in folder.ids_of(split):
        annotation = folder.annotation(id)
        try:
            trees[id] = _parse_xml(annotation)
        except FileNotFoundError:
            faults.add(annotation, "no such file", annotation)
        except (ValueError, OSError) as error:
            faults.add(annotation, str(error), annotation)
    return trees


def _parse_xml(path: Path) -> Element:
    """The root element.

    Entities are refused where they are declared: expanded, a few could fill the memory.

    Raises:
        ValueError: if it is no XML, or declares entities.
        OSError: if it cannot be read.
    """
    content = path.read_bytes()
    try:
        root: Element = DefusedElementTree.fromstring(content)
    except EntitiesForbidden as error:
        raise ValueError(
            f"declares the entity {error.name!r}, which annotations do not need; refused"
        ) from error
    except DefusedXmlException as error:
        raise ValueError(
            f"refers to other files, which annotations do not need ({error})"
        ) from error
    except (ParseError, LookupError) as error:
        raise ValueError(f"not well-formed XML ({error})") from error
    return root


def _class_names(trees: Iterable[Element]) -> list[str]:
    names = set()
    for tree in trees:
        for element in tree.findall("object"):
            name = (element.findtext("name") or "").strip()
            if name:
                names.add(name)
    return sorted(names)


def _size(tree: Element, path: Path) -> tuple[int, int]:
    """Width and height as the annotation has them; those of the file where they are 0.

    Raises:
        ValueError: if there is no size.
        OSError: if the file cannot be read.
    """
    element = tree.find("size")
    if element is None:
        raise ValueError("<annotation> lacks <size>")
    width = int(_number(element, "width"))
    height = int(_number(element, "height"))
    if width == 0 or height == 0:
        return image_size(path)
    return width, height


def _add_boxes(tree: Element, image: AnnotatedImage, classes: list[str], faults: Faults) -> int:
    """Add the boxes of an image; returns how many had no area."""
    annotation = image.annotation or image.path
    empty = 0
    for element in tree.findall("object"):
        try:
            image.boxes.append(_box(element, classes, (image.width, image.height)))
        except EmptyBoxError:
            empty += 1
        except ValueError as error:
            faults.add(annotation, str(error), image.path)
    return empty


def _box(element: Element, classes: list[str], size: tuple[int, int]) -> Box:
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
    difficult = parse_flag(element.findtext("difficult"), "<difficult>")
    return fit_box((x1, y1, x2, y2), size, classes.index(name), difficult=difficult)


def _text(element: Element, tag: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise ValueError(f"<{element.tag}> lacks <{tag}>")
    return text


def _number(element: Element, tag: str) -> float:
    text = _text(element, tag)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"<{tag}> is {text!r}, expected a number") from None
