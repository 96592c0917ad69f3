import os
from pathlib import Path

import numpy as np
import pytest

from zoo import DataError
from zoo.data.sources import open_source

CLASSES = ("a/abbey", "a/apartment_building/outdoor", "z/zoo")


@pytest.fixture
def places365(tmp_path, picture):
    """As torchvision leaves it: two training images per class, three of val without folders."""
    root = tmp_path / "places365"
    lines = [f"/{name}/{i:08d}.jpg {c}" for c, name in enumerate(CLASSES) for i in (1, 2)]
    for at, line in enumerate(lines):
        picture(root / "data_256_standard" / line.split()[0][1:], seed=at)
    (root / "places365_train_standard.txt").write_text("\n".join(lines))
    for i in (1, 2, 3):
        picture(root / "val_256" / f"Places365_val_{i:08d}.jpg", seed=i)
    (root / "places365_val.txt").write_text(
        "".join(f"Places365_val_{i:08d}.jpg {3 - i}\n" for i in (1, 2, 3))
    )
    (root / "categories_places365.txt").write_text(
        "".join(f"/{name} {c}\n" for c, name in enumerate(CLASSES))
    )
    return root


@pytest.fixture
def places205(tmp_path, picture):
    """As its two archives unpack."""
    root = tmp_path / "places205"
    images, lists = (
        root / "data" / "vision" / "torralba" / "deeplearning" / "images256",
        root / "trainvalsplit_places205",
    )
    lists.mkdir(parents=True)
    for split, names in (("train", ("gsun_1.jpg", "gsun_2.jpg")), ("val", ("gsun_3.jpg",))):
        lines = [f"{name}/{file} {c}" for c, name in enumerate(CLASSES) for file in names]
        for line in lines:
            picture(images / line.split()[0])
        (lists / f"{split}_places205.csv").write_text("\n".join(lines) + "\n")
    return root


def test_places365_as_torchvision_reads_it(places365, monkeypatch):
    from torchvision.datasets import Places365

    monkeypatch.setattr(
        Places365, "_check_integrity", lambda *_: True
    )  # it knows the sums of the real lists
    for split, theirs in (("train", "train-standard"), ("test", "val")):
        ours, other = (
            open_source(str(places365), split),
            Places365(str(places365), theirs, small=True),
        )
        assert [str(ours.root / ours.key(i)) for i in range(len(ours))] == [
            str(Path(path)) for path, _ in other.imgs
        ]
        assert ours.labels.tolist() == other.targets
        np.testing.assert_array_equal(np.asarray(ours.image(1)), np.asarray(other[1][0]))
    assert ours.classes == [
        "abbey",
        "apartment_building/outdoor",
        "zoo",
    ] and ours.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize("folder", ["data_256", "data_large", "data_large_standard"])
def test_the_archives_own_names_and_the_large_images(places365, folder):
    os.rename(places365 / "data_256_standard", places365 / folder)
    os.rename(places365 / "val_256", places365 / "val_large")
    assert (
        open_source(str(places365)).image(5).size == (16, 16)
        and len(open_source(str(places365), "test")) == 3
    )


def test_the_challenge_list(places365):
    os.rename(
        places365 / "places365_train_standard.txt", places365 / "places365_train_challenge.txt"
    )
    os.rename(places365 / "data_256_standard", places365 / "data_256_challenge")
    assert len(open_source(str(places365))) == 6


def test_places205_as_its_lists_give_it(places205):
    train, test = open_source(str(places205)), open_source(str(places205), "test")
    assert train.classes == test.classes == ["abbey", "apartment_building/outdoor", "zoo"]
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2] and test.labels.tolist() == [0, 1, 2]
    assert test.key(1) == "a/apartment_building/outdoor/gsun_3.jpg" and test.image(1).size == (
        16,
        16,
    )
    before = train.digest
    for name in ("train", "val"):  # the lists beside the images
        os.rename(
            places205 / "trainvalsplit_places205" / f"{name}_places205.csv",
            places205 / f"{name}_places205.csv",
        )
    os.rename(
        places205 / "data" / "vision" / "torralba" / "deeplearning" / "images256",
        places205 / "images256",
    )
    assert open_source(str(places205)).digest == before
    (places205 / "images256" / train.key(0)).write_bytes(b"changed")
    assert open_source(str(places205)).digest != before


def append(path, line):
    with open(path, "a") as file:
        file.write("\n" + line)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda r: append(r / "places365_train_standard.txt", "/a/abbey/3.jpg"),
            r"standard\.txt:7: expected a path and a",
        ),
        (
            lambda r: append(r / "places365_train_standard.txt", "/z/zoo/3.jpg 400"),
            "label 400 in a list of 3 classes",
        ),
        (
            lambda r: append(r / "places365_train_standard.txt", "/z/zoo/3.jpg 0"),
            r"zoo/3\.jpg has the label 0.*a/abbey",
        ),
        (lambda r: append(r / "places365_train_standard.txt", "../../x.jpg 0"), r"path with \.\."),
        (
            lambda r: append(r / "categories_places365.txt", "/b/bar 2"),
            "2 is the class z/zoo and the class b/bar",
        ),
        (lambda r: append(r / "categories_places365.txt", "/b/bar 7"), "each number from 0 to 3"),
        (
            lambda r: (r / "categories_places365.txt").unlink(),
            "no list of the classes; expected categories_places365",
        ),
        (lambda r: (r / "places365_train_standard.txt").write_text(""), "names nothing"),
        (
            lambda r: os.rename(r / "data_256_standard", r / "images"),
            "expected a folder data_256_standard or data_256",
        ),
        (
            lambda r: (r / "data_256_standard" / "a" / "abbey" / "00000001.jpg").unlink(),
            "unpack the images there",
        ),
        (
            lambda r: os.rename(r / "places365_train_standard.txt", r / "train.txt"),
            "no train split; expected places365_t",
        ),
    ],
)
def test_what_is_wrong_is_named(places365, spoil, message):
    spoil(places365)
    with pytest.raises(DataError, match=message):
        open_source(str(places365))


def test_an_absent_image_is_named_or_skipped(places365):
    (places365 / "data_256_standard" / "z" / "zoo" / "00000002.jpg").unlink()
    source = open_source(str(places365), skip_bad=True)
    source.array()
    assert source.bad == {5} and source.digest
    with pytest.raises(DataError, match=r"zoo.00000002\.jpg"):
        open_source(str(places365)).array()


def test_places_are_probed_with_their_preset(places205, places365, tmp_path):
    import torch

    import zoo
    from downstream.linear import PRESETS, Linear
    from downstream.task import TaskInputs

    torch.manual_seed(0)
    spec = zoo.InputSpec(size=16, crop_pct=1.0)
    model = zoo.save(zoo.create("resnet10", embed_dim=16, input=spec).eval(), tmp_path / "model")
    for root, test in ((places205, 3), (places365, 3)):
        results = Linear().run(TaskInputs(model, str(root)), PRESETS[root.name].of_length(1))
        assert results.split_sizes == {"train": 6, "test": test} and "res5/top1" in results.metrics
