"""A user's folder as two detectron2 data sets."""

import hashlib
import re
from pathlib import Path
from typing import Any

from downstream.detection import coco, voc
from downstream.detection.annotations import AnnotatedImage, DetectionSplit, Faults
from zoo.errors import DataError

_XYXY_ABS = 0  # in detectron2's BoxMode


def read_splits(
    root: str | Path, train_names: tuple[str, ...] = (), test_names: tuple[str, ...] = ()
) -> tuple[DetectionSplit, DetectionSplit]:
    """Read the training and the test split of a folder.

    Args:
        root: a VOC folder, a devkit of several (``VOC2007/``, ``VOC2012/``), or a folder with COCO
            JSON.
        train_names: detectron2's names of VOC splits, such as voc_2007_trainval; a devkit needs
            them.
        test_names: the same for the test split.

    Returns:
        Both splits; the classes are those of the training split.

    Raises:
        DataError: listing everything wrong with the data set, each with its file.
    """
    root = Path(root)
    faults = Faults()
    coco_splits = coco.find_splits(root)
    if any(voc.is_voc(folder) for folder in root.glob("VOC[0-9]*")):
        train = _read_devkit(root, train_names, faults, None)
        test = _read_devkit(root, test_names, faults, train.classes)
    elif voc.is_voc(root):
        train_name, test_name = voc.find_splits(root)
        train = voc.read(root, train_name, faults)
        test = voc.read(root, test_name, faults, train.classes)
    elif coco_splits is not None:
        train_name, test_name = coco_splits
        train = coco.read(root, train_name, faults)
        test = coco.read(root, test_name, faults, train.classes)
    else:
        raise DataError(
            f"{root}: neither a VOC folder (Annotations/, ImageSets/Main/, JPEGImages/) nor one "
            "with COCO JSON (annotations/instances_train*.json and instances_val*.json, or "
            "train/_annotations.coco.json)"
        )
    if faults.lines:
        raise DataError(f"{root}: {len(faults.lines)} faults; correct or remove them:\n  {faults}")
    for split in (train, test):
        if all(box.difficult or box.crowd for box in split.boxes()):
            raise DataError(
                f"{root}: the split {split.name} has no boxes that count (not difficult, no crowd)"
            )
    return train, test


def _read_devkit(
    root: Path, names: tuple[str, ...], faults: Faults, classes: list[str] | None
) -> DetectionSplit:
    """Several VOC years as one split; ``names`` are detectron2's, such as voc_2007_trainval."""
    requested = []
    for name in names:
        match = re.fullmatch(r"voc_(\d{4})_(\w+)", name)
        if match is not None:
            requested.append((match[1], match[2]))
    if not requested:
        raise DataError(
            f"{root} holds VOC years; the config must name them as voc_2007_test, "
            f"found {', '.join(names)}"
        )

    def read_years(faults: Faults, classes: list[str] | None) -> list[DetectionSplit]:
        return [voc.read(root / f"VOC{year}", split, faults, classes) for year, split in requested]

    parts = read_years(faults, classes)
    if classes is None and len(parts) > 1:
        union = sorted(set().union(*(part.classes for part in parts)))
        parts = read_years(Faults(), union)
    images = []
    for part in parts:
        images += part.images
    return DetectionSplit(
        name="+".join(f"{year} {split}" for year, split in requested),
        classes=parts[0].classes,
        images=images,
        eleven_point=parts[0].eleven_point,
    )


def digest(*splits: DetectionSplit) -> str:
    """Compute what tells whether images or boxes are others than before.

    Returns:
        A hex digest of names, sizes, classes and boxes. A run folder keeps it.
    """
    content = []
    for split in splits:
        images = []
        for image in split.images:
            images.append((image.id, image.path.name, image.width, image.height, image.boxes))
        content.append((split.classes, images))
    return hashlib.sha256(repr(content).encode()).hexdigest()


def register(name: str, split: DetectionSplit) -> None:
    """Make a split known to detectron2 under a name, in the place of one that had it."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog.list():
            catalog.remove(name)
    DatasetCatalog.register(name, lambda: [_standard_dict(image) for image in split.images])
    MetadataCatalog.get(name).set(thing_classes=split.classes)


def _standard_dict(image: AnnotatedImage) -> dict[str, Any]:
    """An image in detectron2's "standard dataset dict"."""
    annotations = []
    for box in image.boxes:
        annotations.append(
            {
                "bbox": list(box.corners),
                "bbox_mode": _XYXY_ABS,
                "category_id": box.category,
                "iscrowd": int(box.crowd),
            }
        )
    return {
        "file_name": str(image.path),
        "image_id": image.id,
        "width": image.width,
        "height": image.height,
        "annotations": annotations,
    }
