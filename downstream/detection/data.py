"""A user's folder as two splits, and these as detectron2's data sets."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from downstream.detection.annotations import AnnotatedImage, DetectionSplit, Faults
from downstream.detection.files import check_images
from downstream.detection.splits import FolderSplits, find_splits
from zoo.errors import DataError

_XYXY_ABS = 0  # in detectron2's BoxMode
_HELD_OUT = 0.2  # of the images of a folder that has one split only


def read_splits(
    root: str | Path,
    train_names: tuple[str, ...] = (),
    test_names: tuple[str, ...] = (),
    *,
    holdout: float | None = None,
    skip_bad: bool = False,
) -> tuple[DetectionSplit, DetectionSplit]:
    """Read the training and the test split of a folder.

    Where the folder has one split only, a fifth of its images is held out for testing.

    Args:
        root: a VOC folder, a devkit of several years (``VOC2007/``, ``VOC2012/``), a folder with
            COCO JSON, or one with VOC's XML beside the images.
        train_names: which to train on: names of the folder's splits, or detectron2's, such as
            voc_2007_trainval or coco_2017_train; by default what it has for training.
        test_names: the same for the test split.
        holdout: the share of the training images to test on, in place of a test split.
        skip_bad: whether images with faults are left out.

    Returns:
        Both splits; the classes are those of the training split.

    Raises:
        DataError: listing everything wrong with the data set, each with its file, or the splits
            that there are where those asked for are not among them.
    """
    root = Path(root)
    existing = find_splits(root)
    if holdout is not None and train_names:
        train_names = existing.select(train_names)
    else:
        train_names, test_names = _choose_splits(existing, train_names, test_names)
    faults = Faults(skip_bad=skip_bad)
    train = _read(existing, train_names, faults, None)
    if test_names and holdout is None:
        test = _read(existing, test_names, faults, train.classes)
    else:
        train, test = _hold_out(root, train, holdout or _HELD_OUT)
    if faults.lines:
        raise DataError(f"{root}: {len(faults.lines)} faults; correct or remove them:\n  {faults}")
    for split in (train, test):
        if all(box.difficult or box.crowd for box in split.boxes()):
            raise DataError(
                f"{root}: the split {split.name} has no boxes that count (not difficult, no crowd)"
            )
    return train, test


def _choose_splits(
    existing: FolderSplits, train_names: tuple[str, ...], test_names: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The splits to read, by the names that the folder has for them; none to test on: hold out.

    Raises:
        DataError: listing the candidates.
    """
    if train_names and test_names:
        return existing.select(train_names), existing.select(test_names)
    if train_names or test_names:
        only = "DATASETS.TRAIN" if train_names else "DATASETS.TEST"
        raise DataError(
            f"{existing.root}: {only} is {', '.join(train_names or test_names)} and the other "
            f"names no split; name both or neither. There are: {', '.join(existing.names)}"
        )
    return existing.default_pair()


def _read(
    existing: FolderSplits, names: tuple[str, ...], faults: Faults, classes: list[str] | None
) -> DetectionSplit:
    """Splits of a folder as one."""

    def read_parts(faults: Faults, classes: list[str] | None) -> list[DetectionSplit]:
        parts = []
        for name in names:
            of_part = Faults(skip_bad=faults.skip_bad)
            part = check_images(existing.read(name, of_part, classes), of_part)
            faults.lines += of_part.lines
            parts.append(part)
        return parts

    parts = read_parts(faults, classes)
    if classes is None and len(parts) > 1:
        union = list(dict.fromkeys(name for part in parts for name in part.classes))
        if existing.kind == "VOC":
            union.sort()
        if any(part.classes != union for part in parts):
            parts = read_parts(Faults(skip_bad=faults.skip_bad), union)
    if len(parts) == 1:
        return parts[0]
    return _join(parts)


def _join(parts: list[DetectionSplit]) -> DetectionSplit:
    images: list[AnnotatedImage] = []
    left_out: list[str] = []
    notes: list[str] = []
    for part in parts:
        images += part.images
        left_out += part.left_out
        notes += part.notes
    return DetectionSplit(
        name="+".join(part.name for part in parts),
        classes=parts[0].classes,
        images=images,
        coco_json=parts[0].coco_json,
        eleven_point=parts[0].eleven_point,
        empty_boxes=sum(part.empty_boxes for part in parts),
        left_out=tuple(left_out),
        notes=tuple(notes),
    )


def _hold_out(
    root: Path, whole: DetectionSplit, share: float
) -> tuple[DetectionSplit, DetectionSplit]:
    """Part a split by a hash of the images' names, so that it is the same in every run."""
    by_hash = sorted(whole.images, key=_hash_of_id)
    count = max(1, round(len(by_hash) * share))
    held_out = {image.id for image in by_hash[:count]}
    note = (
        f"tested on {len(held_out)} of the {len(whole.images)} images of {root}, which were held "
        "out by a hash of their names."
    )
    train_images = [image for image in whole.images if image.id not in held_out]
    test_images = [image for image in whole.images if image.id in held_out]
    train = replace(whole, name="train", images=train_images, notes=(*whole.notes, note))
    test = replace(whole, name="held out", images=test_images, empty_boxes=0, left_out=(), notes=())
    return train, test


def _hash_of_id(image: AnnotatedImage) -> str:
    return hashlib.sha256(image.id.encode()).hexdigest()


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
