"""Folders of parquet as the Hub has them."""

import io

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
