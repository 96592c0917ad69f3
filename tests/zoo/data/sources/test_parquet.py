"""Folders of parquet as the Hub has them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from zoo import DataError
from zoo.data.sources import open_source


def parquet(path, images, labels=None, column="img"):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    table = {column: rows} | ({"label": labels} if labels is not None else {})
    pq.write_table(pa.table(table), path)


def test_parquet_rows_keep_their_order_over_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    parquet(tmp_path / "train-00000-of-00002.parquet", images[:3], [0, 1, 0], "image")
    parquet(tmp_path / "train-00001-of-00002.parquet", images[3:], [1, 1], "image")
    source = open_source(str(tmp_path))
    np.testing.assert_array_equal(source.array(), images)
    assert source.labels.tolist() == [0, 1, 0, 1, 1] and source.classes == ["0", "1"]
    with pytest.raises(DataError, match="no test split"):
        open_source(str(tmp_path), "test")


def test_strange_parquet_is_named(tmp_path):
    parquet(tmp_path / "train-0.parquet", np.zeros((1, 4, 4, 3), np.uint8), column="pixels")
    with pytest.raises(DataError, match="img or image, found pixels"):
        open_source(str(tmp_path))
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        open_source(str(tmp_path))


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(count, kind=None):
    pa = pytest.importorskip("pyarrow")
    return pa.array([{"bytes": png(i), "path": None} for i in range(count)], kind)


def write(folder, columns, features=None, split="train"):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table(columns)
    if features is not None:
        about = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": about})
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return open_source(str(folder), split)


def test_images_are_read_from_every_type_that_holds_bytes(tmp_path):
    pa = pytest.importorskip("pyarrow")
    large = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    plain = [png(i) for i in range(3)]
    columns = {
        "polars": rows(3, large),
        "pandas": pa.array(plain),
        "large": pa.array(plain, pa.large_binary()),
        "view": pa.array(plain, pa.binary_view()),
    }
    for name, column in columns.items():
        source = write(tmp_path / name, {"image": column})
        assert source.array()[:, 0, 0, 0].tolist() == [0, 1, 2], name
    declared = {"photo": {"_type": "Image"}}
    assert len(write(tmp_path / "declared", {"photo": rows(3)}, declared)) == 3
    source = write(tmp_path / "gap", {"image": pa.array([{"bytes": png(0)}, None])})
    with pytest.raises(DataError, match="row 1.*holds no image bytes"):
        source.image(1)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([[[1, 2], [3, 4]]] * 2, r"list<.*list<.*int64>>"),
        ([{"data": b"1", "url": "x"}] * 2, r"struct<data: binary, url: string>"),
        (["a.png", "b.png"], "string"),
    ],
)
def test_images_of_another_type_are_one_message_with_column_and_type(tmp_path, column, kind):
    with pytest.raises(DataError, match=rf"column image has the type {kind}, expected bytes"):
        write(tmp_path, {"image": column, "label": [0, 1]})


@pytest.mark.parametrize(
    ("values", "labels", "classes"),
    [
        ([1.0, 0.0, 2.0], [1, 0, 2], ["0", "1", "2"]),
        ([1.0, None, float("nan")], [1, -1, -1], ["0", "1"]),
        ([True, False, True], [1, 0, 1], ["0", "1"]),
        ([None, 1, 0], [-1, 1, 0], ["0", "1"]),
        ([-1, 1, 0], [-1, 1, 0], ["0", "1"]),
        (["b", "a", ""], [1, 0, -1], ["a", "b"]),
        ([[1], [0], [2]], [1, 0, 2], ["0", "1", "2"]),
        ([["dog"], ["cat"], []], [1, 0, -1], ["cat", "dog"]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [1, 0, 2], ["0", "1", "2"]),
        ([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], [1, 0, 1], ["0", "1"]),
        ([10**15, 7, 10**15], [1, 0, 1], ["7", "1000000000000000"]),
    ],
)
def test_labels_are_read_from_every_kind_of_value(tmp_path, values, labels, classes):
    source = write(tmp_path, {"image": rows(3), "label": values})
    assert source.labels.tolist() == labels and source.classes == classes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 0], [1], [2]], r"column labels \(list<.*int64>\): several labels an image"),
        ([[1, 1], [0, 1], [1, 0]], "several labels an image"),
        ([0.5, 1.0, 2.0], r"column labels \(double\): 0.5 is no label, expected whole numbers"),
        ([float("inf"), 1.0, 2.0], "inf is no label"),
        ([{"a": 1}, {"a": 2}, {"a": 3}], "is no label"),
        ([None, None, None], "are missing, or -1"),
    ],
)
def test_unusable_labels_matter_only_to_those_who_need_them(tmp_path, values, message):
    source = write(tmp_path, {"image": rows(3), "labels": values})
    assert len(source) == 3 and source.labels is None
    with pytest.raises(DataError, match=message):
        source.require_labels()


@pytest.mark.parametrize(
    "feature",
    [
        {"names": ["cat", "dog"], "_type": "ClassLabel"},
        [{"names": ["cat", "dog"], "_type": "ClassLabel"}],
        {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "Sequence"},
    ],
)
def test_names_are_found_wherever_the_hubs_library_writes_them(tmp_path, feature):
    values = [0, 1] if isinstance(feature, dict) and "names" in feature else [[0], [1]]
    source = write(tmp_path, {"image": rows(2), "animal": values}, {"animal": feature})
    if feature == {"names": ["cat", "dog"], "_type": "ClassLabel"}:
        assert source.classes == ["cat", "dog"] and source.labels.tolist() == [0, 1]
    else:
        assert source.labels is None, "what only looks like classes is not taken for them"
    source = write(tmp_path, {"image": rows(2), "labels": values}, {"labels": feature})
    assert source.classes == ["cat", "dog"] and source.labels.tolist() == [0, 1]


def test_metadata_that_are_none_of_the_hubs_are_passed_over(tmp_path):
    for features in (None, [], {"label": None}, {"label": {"names": 3}}):
        source = write(tmp_path, {"image": rows(2), "label": [0, 1]}, features)
        assert source.classes == ["0", "1"]


def test_columns_of_another_name_are_named(tmp_path):
    source = write(tmp_path, {"image": rows(2), "species": [0, 1]})
    with pytest.raises(DataError, match="no column is called label.*; the columns are image, spec"):
        source.require_labels()


def test_files_of_one_split_may_differ_in_type(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    large = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    for number, (kind, labels) in enumerate(
        [(None, pa.array([0, 1], pa.int32())), (large, pa.array([1.0, None]))]
    ):
        table = pa.table({"image": rows(2, kind), "label": labels})
        pq.write_table(table, tmp_path / f"train-0000{number}.parquet")
    assert open_source(str(tmp_path)).labels.tolist() == [0, 1, 1, -1]
