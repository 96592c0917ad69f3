"""Folders with boxes as other tools write them: images of 64×48 with one box each."""

import json

import numpy as np
from PIL import Image

from tests.downstream.detection.boxes import thing


def photo(path, seed=0, orientation=None, size=(64, 48)):
    """A noisy image, under an EXIF orientation if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def xml(path, name="red", more=""):
    """VOC's annotation of such an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(thing(name=name, more=more))


def coco_json(path, files, categories=({"id": 1, "name": "red"},), first_id=1, extra=()):
    """COCO's JSON for images, each with one box of the first category."""
    images = []
    boxes = []
    for id, file_name in enumerate(files, first_id):
        images.append({"id": id, "file_name": file_name, "width": 64, "height": 48})
        boxes.append(
            {
                "id": id,
                "image_id": id,
                "category_id": categories[-1]["id"],
                "bbox": [2, 2, 18, 18],
                "iscrowd": 0,
            }
        )
    boxes += extra
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": boxes, "categories": list(categories)}
    path.write_text(json.dumps(content))


def coco_split(root, split, count=2, first_id=1, extra=(), **options):
    """A split as COCO has it: ``annotations/instances_SPLIT.json`` and ``SPLIT/``."""
    names = [f"{id}.jpg" for id in range(first_id, first_id + count)]
    for seed, name in enumerate(names):
        photo(root / split / name, seed)
    path = root / "annotations" / f"instances_{split}.json"
    coco_json(path, names, first_id=first_id, extra=extra, **options)
    return path


def found(split):
    """Image files, relative to their data set, and classes of the boxes."""
    names = []
    for image in split.images:
        assert image.path.is_file()
        labels = "+".join(split.classes[box.category] for box in image.boxes)
        names.append(f"{image.path.parent.name}/{image.path.name} {labels}")
    return names
