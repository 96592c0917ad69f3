import io

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.data.splits import hold_out, labelled_splits


def parquet(folder, split, labels, names=None):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = []
    for i in range(len(labels)):
        buffer = io.BytesIO()
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    table = pa.table({"image": rows, "label": labels})
    if names:
        import json

        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def test_the_test_labels_count_in_the_training_splits_list(tmp_path):
    parquet(tmp_path, "train", [0, 1, 2, 0], ["cat", "dog", "emu"])
    parquet(
        tmp_path, "test", [0, 1, 1], ["emu", "cat"]
    )  # dog is missing and the others are numbered otherwise
    train, test = labelled_splits(str(tmp_path))
    assert train.classes == test.classes == ["cat", "dog", "emu"] and test.labels.tolist() == [
        2,
        0,
        0,
    ]


def test_names_as_labels_may_miss_a_class_in_the_test_split(tmp_path):
    parquet(tmp_path, "train", ["cat", "dog", "emu"])
    parquet(tmp_path, "test", ["emu", "dog"])
    train, test = labelled_splits(str(tmp_path))
    assert train.labels.tolist() == [0, 1, 2] and test.labels.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (([0, 1], ["cat", "dog"]), ([0, 2], ["cat", "dog", "emu"]), "training split lacks: emu"),
        (([0, 1], None), ([0, 3], None), "training split lacks: 3; the training split has 0, 1"),
        (([0, 1], None), ([0, 1], ["cat", "dog"]), "training split lacks: cat, dog"),
        (([0, 3], ["cat", "dog"]), ([0], ["cat", "dog"]), "label 3 in a list of 2 classes"),
        (([0, 0], None), ([0], None), "all training images are of one class"),
    ],
)
def test_labels_that_disagree_are_named(tmp_path, train, test, message):
    parquet(tmp_path, "train", *train)
    parquet(tmp_path, "test", *test)
    with pytest.raises(DataError, match=message):
        labelled_splits(str(tmp_path))


def folder(root, picture, split, names, count=3):
    for name in names:
        for number in range(count):
            picture(root / split / name / f"{number}.png", seed=number)


def test_a_labelled_validation_split_stands_in_for_a_test_split_without_labels(tmp_path, picture):
    folder(tmp_path / "folders", picture, "train", ["cat", "dog"])
    folder(tmp_path / "folders", picture, "val", ["cat", "dog"], 2)
    picture(tmp_path / "folders" / "test" / "0.png")
    parquet(tmp_path / "hub", "train", [0, 1, 1])
    parquet(tmp_path / "hub", "validation", [0, 1])
    parquet(tmp_path / "hub", "test", [-1, -1, -1])
    for data, count in (("folders", 4), ("hub", 2)):
        _, test = labelled_splits(str(tmp_path / data))
        assert test.split == "val" and len(test) == count, data
    with pytest.raises(DataError, match=r"all 3 labels are missing, or -1|3 of 3 labels"):
        labelled_splits(str(tmp_path / "hub"), test="testing", train="val")[1].require_labels()


def test_splits_are_chosen_by_name(tmp_path):
    for split, labels in (("train", [0, 1]), ("test", [0]), ("validation", [0, 1, 1])):
        parquet(tmp_path, split, labels)
    parquet(tmp_path, "extra", [0, 1, 1, 0])
    train, test = labelled_splits(str(tmp_path), train="extra", test="valid")
    assert (len(train), len(test)) == (4, 3)
    with pytest.raises(DataError, match="no dev split"):
        labelled_splits(str(tmp_path), test="dev")
    with pytest.raises(DataError, match="digits: no val split"):
        labelled_splits("digits", test="val")


def test_a_part_of_each_class_can_be_held_out(tmp_path, picture):
    folder(tmp_path, picture, ".", ["cat", "dog", "emu"], 5)
    with pytest.raises(DataError, match=r"no test split.*--holdout 20%"):
        labelled_splits(str(tmp_path))
    train, test = labelled_splits(str(tmp_path), holdout=0.4, seed=1)
    assert np.bincount(train.labels).tolist() == [3, 3, 3]
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    keys = [source.key(i) for source in (train, test) for i in range(len(source))]
    assert len(set(keys)) == 15
    again = labelled_splits(str(tmp_path), holdout=0.4, seed=1)[1]
    other = labelled_splits(str(tmp_path), holdout=0.4, seed=2)[1]
    assert again.indices.tolist() == test.indices.tolist() != other.indices.tolist()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_every_class_of_two_images_is_on_both_sides_of_a_held_out_part(share):
    labels = np.repeat([0, 3, 4, 9], [1, 2, 10, 40])
    kept, held = hold_out(labels, share, seed=0)
    assert sorted([*kept, *held]) == list(range(53))
    assert set(labels[held]) == {3, 4, 9} and set(labels[kept]) == {0, 3, 4, 9}
    for number, count in ((3, 2), (4, 10), (9, 40)):
        assert abs((labels[held] == number).sum() - share * count) < 1


def test_classes_without_images_are_left_out_of_the_list(tmp_path):
    names = ["ant", "bee", "cat", *(f"unused{i}" for i in range(40))]
    parquet(tmp_path, "train", [2, 0, 2], names)
    parquet(tmp_path, "test", [2, 1], names)
    train, test = labelled_splits(str(tmp_path))
    assert train.classes == test.classes == ["ant", "bee", "cat"]
    assert train.labels.tolist() == [2, 0, 2] and test.labels.tolist() == [2, 1]
    kept, _ = labelled_splits(str(tmp_path), holdout=0.5)
    assert kept.classes == ["ant", "cat"]


def test_images_without_a_label_are_left_out(tmp_path):
    parquet(tmp_path, "train", [0, None, 1, -1])
    parquet(tmp_path, "test", [1, None])
    train, test = labelled_splits(str(tmp_path))
    assert train.indices.tolist() == [0, 2] and train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [1]
    assert train.notes == [
        "2 images have no label and are left out of the train split: column label (int64): "
        "2 of 4 labels are missing, or -1"
    ]
