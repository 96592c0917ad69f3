"""A folder of Hub-style parquet: ``{split}-*.parquet``, with encoded images and perhaps labels."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.images import LazyImage
from zoo.data.source import SOURCES, Source
from zoo.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_SPLITS = {"train": ("train",), "test": ("test", "validation", "val")}
_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "fine_label", "labels")


def _folders(data: str) -> tuple[Path, Path]:
    """Where the files may lie."""
    return Path(data), Path(data) / "data"


def _files(data: str, split: str) -> list[Path]:
    """The split's files, in order of name.

    Raises:
        DataError: if there are none; it says what there is.
    """
    for name in _SPLITS.get(split, (split,)):
        for folder in _folders(data):
            for pattern in (f"{name}-*.parquet", f"{name}.parquet"):
                files = sorted(folder.glob(pattern))
                if files:
                    return files
    others = sorted(path.name for path in Path(data).rglob("*.parquet"))
    raise DataError(
        f"{data}: no {split} split; expected files like {split}-00000-of-00001.parquet, "
        f"found {', '.join(others[:6])}"
    )


def _first_column(columns: list[str], names: tuple[str, ...]) -> str | None:
    """The first of some names that is a column."""
    for name in names:
        if name in columns:
            return name
    return None


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """Names that the Hub's ``datasets`` library keeps in the schema."""
    content = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    features = content.get("info", {}).get("features", {})
    names: list[str] | None = features.get(column, {}).get("names")
    return names


@SOURCES.register("parquet")
class Parquet(Source):
    """Rows are read into memory as they are encoded, so the files must fit there.

    Attributes:
        files: of the split, in order.
        rows: N encoded images, a column of pyarrow.
    """

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is a folder with parquet in it or in its ``data/``."""
        return any(any(folder.glob("*.parquet")) for folder in _folders(data))

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        try:
            import pyarrow as pa
        except ImportError as error:
            raise DataError(
                f"{data}: reading parquet needs pyarrow: pip install 'npid-zoo[data]'"
            ) from error
        self.files = _files(data, split)
        try:
            self._read()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.files[0].parent}: the {split} parquet cannot be read ({error}); "
                "fetch it again"
            ) from error

    def _read(self) -> None:
        """Read images and labels from the files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(self.files[0])
        image_column = _first_column(schema.names, _IMAGE_COLUMNS)
        label_column = _first_column(schema.names, _LABEL_COLUMNS)
        if image_column is None:
            raise DataError(
                f"{self.files[0]}: needs an image column called {' or '.join(_IMAGE_COLUMNS)}, "
                f"found {', '.join(schema.names)}"
            )
        columns = [image_column]
        if label_column is not None:
            columns.append(label_column)
        table = pa.concat_tables([pq.read_table(file, columns=columns) for file in self.files])
        self.rows = table.column(image_column)
        if pa.types.is_struct(self.rows.type):
            encoded = [chunk.field("bytes") for chunk in self.rows.chunks]
            self.rows = pa.chunked_array(encoded, pa.binary())
        if label_column is not None:
            names = _class_names(schema.metadata, label_column)
            self._take_labels(table.column(label_column), names)

    def _take_labels(self, column: "pyarrow.ChunkedArray", names: list[str] | None) -> None:
        """Set labels and classes, where the column holds numbers or names and no gap."""
        if column.null_count:
            return
        values = np.asarray(column.to_pylist())
        if values.dtype.kind == "U":
            unique, values = np.unique(values, return_inverse=True)
            names = [str(name) for name in unique]
        if values.dtype.kind not in "iu" or (values < 0).any():
            return
        self.labels = values.astype(np.int64)
        self.classes = names or [str(i) for i in range(int(values.max()) + 1)]
        if len(values) and values.max() >= len(self.classes):
            raise DataError(
                f"{self.data}: label {values.max()} in a list of {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, index: int) -> str:
        """The split and the row."""
        return f"{self.split}/{index:08d}"

    def open(self, index: int) -> LazyImage:
        """Open the row's bytes."""
        content = self.rows[index].as_py()
        name = f"{self.data} ({self.split} row {index})"
        if content is None:
            raise DataError(
                f"{name}: holds no image bytes; embed the images in the parquet, or skip bad ones"
            )
        return LazyImage(content, name)

    def fingerprint(self, index: int) -> bytes:
        """The encoded image."""
        content: bytes | None = self.rows[index].as_py()
        return content or b""

    def manifest(self) -> str:
        """Names and sizes of the files."""
        return "\n".join(f"{file.name} {file.stat().st_size}" for file in self.files)
