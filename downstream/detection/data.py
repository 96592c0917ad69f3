"""A user's folder as two detectron2 data sets."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from downstream.detection import coco, voc
from downstream.detection.records import Faults, Record, Split
from zoo import DataError


def _devkit(root: Path, names: tuple[str, ...], faults: Faults, classes: list[str] | None) -> Split:
    """Several VOC years as one split; ``names`` are detectron2's, such as voc_2007_trainval."""
    wanted = [
        match.groups() for name in names if (match := re.fullmatch(r"voc_(\d{4})_(\w+)", name))
    ]
    if not wanted:
        raise DataError(
            f"{root} holds VOC years; the config must name them as voc_2007_test, found {', '.join(names)}"
        )
    parts = [voc.read(root / f"VOC{year}", split, faults, classes) for year, split in wanted]
    if classes is None and len(parts) > 1:
        every = sorted(set().union(*(part.classes for part in parts)))
        parts = [voc.read(root / f"VOC{year}", split, Faults(), every) for year, split in wanted]
    return replace(
        parts[0],
        name="+".join(f"{year} {split}" for year, split in wanted),
        records=[record for part in parts for record in part.records],
        clipped=sum(part.clipped for part in parts),
    )


def read(
    root: str | Path, train: tuple[str, ...] = (), test: tuple[str, ...] = ()
) -> tuple[Split, Split]:
    """The training and the test split of a folder; the classes are those of the training split.

    Args:
        root: a VOC folder, a devkit of several (``VOC2007/``, ``VOC2012/``), or a folder with COCO JSON.
        train, test: detectron2's names of VOC splits; a devkit needs them.

    Raises:
        DataError: listing everything wrong with the data set, each with its file.
    """
    root, faults = Path(root), Faults()
    if any(voc.is_voc(folder) for folder in root.glob("VOC[0-9]*")):
        a = _devkit(root, train, faults, None)
        b = _devkit(root, test, faults, a.classes)
    elif voc.is_voc(root):
        names = voc.splits(root)
        a = voc.read(root, names[0], faults)
        b = voc.read(root, names[1], faults, a.classes)
    elif found := coco.splits(root):
        a = coco.read(root, found[0], faults)
        b = coco.read(root, found[1], faults, a.classes)
    else:
        raise DataError(
            f"{root}: neither a VOC folder (Annotations/, ImageSets/Main/, JPEGImages/) nor one with COCO JSON "
            "(annotations/instances_train*.json and instances_val*.json, or train/_annotations.coco.json)"
        )
    if faults.lines:
        raise DataError(f"{root}: {len(faults.lines)} faults; correct or remove them:\n  {faults}")
    for split in (a, b):
        if not any(
            not (box.difficult or box.crowd) for record in split.records for box in record.boxes
        ):
            raise DataError(
                f"{root}: the split {split.name} has no boxes that count (not difficult, no crowd)"
            )
    return a, b


def _as_detectron2(record: Record) -> dict[str, Any]:
    """A record as detectron2's standard dictionary (boxes as XYXY_ABS, which is 0 in its BoxMode)."""
    return {
        "file_name": str(record.file),
        "image_id": record.id,
        "width": record.width,
        "height": record.height,
        "annotations": [
            {
                "bbox": [box.x1, box.y1, box.x2, box.y2],
                "bbox_mode": 0,
                "category_id": box.category,
                "iscrowd": int(box.crowd),
            }
            for box in record.boxes
        ],
    }


def digest(*splits: Split) -> str:
    """Tells whether images or boxes are others than before: a hex digest of names, sizes, classes and boxes."""
    content = [
        (s.classes, [(r.id, r.file.name, r.width, r.height, r.boxes) for r in s.records])
        for s in splits
    ]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def register(name: str, split: Split) -> None:
    """Make a split known to detectron2 under a name, in the place of one that had it."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog.list():
            catalog.remove(name)
    DatasetCatalog.register(name, lambda: [_as_detectron2(record) for record in split.records])
    MetadataCatalog.get(name).set(thing_classes=split.classes)
