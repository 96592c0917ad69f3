import io

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.data.splits import labelled_splits


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
