"""Small data sets with boxes: made on the spot, and a part of BCCD."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
import zoo.data.images
from downstream.detection.data import read_splits

COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}


def annotation(width, height, objects):
    """The XML of an image; ``objects`` are (class, (xmin, ymin, xmax, ymax))."""
    inner = ""
    for name, (x1, y1, x2, y2) in objects:
        corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        inner += f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{inner}</annotation>"


def _scene(seed, width=64, height=48):
    """Noise with one rectangle of each colour, and the rectangles with VOC's 1-based corners."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 150, (height, width, 3), np.uint8)
    objects = []
    for at, (name, colour) in enumerate(COLOURS.items()):
        x, y = at * width // 2 + int(rng.integers(2, 8)), int(rng.integers(2, 16))
        w, h = rng.integers(16, 22, 2).tolist()
        pixels[y : y + h, x : x + w] = colour
        objects.append((name, (x + 1, y + 1, x + w, y + h)))
    return Image.fromarray(pixels), objects


@pytest.fixture
def voc(tmp_path):
    """A VOC folder of 6 training and 3 test images of 64×48, classes blue and red."""
    root = tmp_path / "shapes"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    names = [f"shape {i}" for i in range(9)]
    for i, name in enumerate(names):
        image, objects = _scene(i)
        image.save(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations" / f"{name}.xml").write_text(annotation(*image.size, objects))
    for split, part in (("trainval", names[:6]), ("test", names[6:])):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(part) + "\n")
    return root


@pytest.fixture
def coco(tmp_path):
    """The same scenes as COCO JSON; category ids are COCO's: not from 0, with gaps.

    One groups the others, as Roboflow writes it.
    """
    root = tmp_path / "coco"
    ids = {"blue": 7, "red": 3}
    (root / "annotations").mkdir(parents=True)
    for split, seeds in (("train2017", range(6)), ("val2017", range(6, 9))):
        (root / split).mkdir()
        images, boxes = [], []
        for i in seeds:
            image, objects = _scene(i)
            image.save(root / split / f"{i}.png")
            images.append({"id": 100 + i, "file_name": f"{i}.png", "width": 64, "height": 48})
            for name, (x1, y1, x2, y2) in objects:
                frame = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
                boxes.append(
                    {
                        "id": len(boxes) + 1,
                        "image_id": 100 + i,
                        "category_id": ids[name],
                        "bbox": frame,
                    }
                )
                boxes[-1] |= {"area": frame[2] * frame[3], "iscrowd": 0}
        categories = [
            {"id": 0, "name": "shapes", "supercategory": "none"},
            *({"id": id, "name": name, "supercategory": "shapes"} for name, id in ids.items()),
        ]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def bccd(real, tmp_path_factory):
    """A part of BCCD as a VOC folder: 4 training and 12 test images."""
    root = tmp_path_factory.mktemp("bccd") / "VOC2007"
    with tarfile.open(real("bccd.tar")) as tar:
        tar.extractall(root.parent / "all", filter="data")
    source = root.parent / "all" / "BCCD"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    for split, count in (("trainval", 4), ("test", 12)):
        names = (source / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:count]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            shutil.copy(source / "Annotations" / f"{name}.xml", root / "Annotations")
            shutil.copy(source / "JPEGImages" / f"{name}.jpg", root / "JPEGImages")
    return root


@pytest.fixture
def model(tmp_path):
    """``model(arch)``: the folder of a saved model with statistics in its norms."""

    def make(arch: str, stem: str | None = None, **more) -> Path:
        torch.manual_seed(0)
        net = zoo.create(arch, embed_dim=8, stem=stem, **more)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
        return zoo.save(net, tmp_path / f"{arch}-{stem}", replace=True)

    return make


@pytest.fixture(scope="session")
def photo(bccd):
    """A real image, as its file and as the zoo reads it, cut to 3×96×64 (uint8)."""
    file = read_splits(bccd)[1].images[0].path
    pixels = np.asarray(zoo.data.images.read(file))[100:196, 200:264]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


@pytest.fixture
def detectron2():
    """Skips where detectron2 is not installed."""
    pytest.importorskip(
        "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
    )
