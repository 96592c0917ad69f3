"""A folder of Hub-style parquet: ``{split}-*.parquet``, an image column of encoded bytes, a label column or none."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.data.images import LazyImage
from zoo.data.source import SOURCES, Source
from zoo.errors import DataError

_SPLITS = {"train": ("train",), "test": ("test", "validation", "val")}
_IMAGES, _LABELS = ("img", "image"), ("label", "fine_label", "labels")


def _files(folder: Path, split: str) -> list[Path]:
    """The split's files, in the folder or its ``data/``, in order of name."""
    for name in _SPLITS.get(split, (split,)):
        for place in (folder, folder / "data"):
            if found := sorted(place.glob(f"{name}-*.parquet")) or sorted(
                place.glob(f"{name}.parquet")
            ):
                return found
    return []


@SOURCES.register("parquet")
class Parquet(Source):
    """Rows are read into memory as they are encoded, so the files must fit there."""

    @classmethod
    def detect(cls, data: str) -> bool:
        return any(any(place.glob("*.parquet")) for place in (Path(data), Path(data) / "data"))

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise DataError(
                f"{data}: reading parquet needs pyarrow: pip install 'npid-zoo[data]'"
            ) from error
        self.files = _files(Path(data), split)
        if not self.files:
            there = ", ".join(sorted(p.name for p in Path(data).rglob("*.parquet"))[:6])
            raise DataError(
                f"{data}: no {split} split; expected files like {split}-00000-of-00001.parquet, found {there}"
            )
        try:
            schema = pq.read_schema(self.files[0])
            column = self._pick(schema.names, _IMAGES, "an image column")
            label = next((name for name in _LABELS if name in schema.names), None)
            tables = [
                pq.read_table(file, columns=[column, *([label] if label else [])])
                for file in self.files
            ]
            table = pa.concat_tables(tables)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.files[0].parent}: the {split} parquet cannot be read ({error}); fetch it again"
            ) from error
        self.rows = table.column(column)
        if pa.types.is_struct(self.rows.type):
            self.rows = pa.chunked_array(
                [chunk.field("bytes") for chunk in self.rows.chunks], pa.binary()
            )
        if label:
            self._take_labels(table.column(label), self._class_names(schema.metadata, label))

    def _pick(self, names: list[str], wanted: tuple[str, ...], what: str) -> str:
        for name in wanted:
            if name in names:
                return name
        raise DataError(
            f"{self.files[0]}: needs {what} called {' or '.join(wanted)}, found {', '.join(names)}"
        )

    @staticmethod
    def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> list[str] | None:
        """Names that the Hub's ``datasets`` library keeps in the schema."""
        info = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        return info.get("info", {}).get("features", {}).get(label, {}).get("names")

    def _take_labels(self, column, names: list[str] | None) -> None:
        if column.null_count:
            return
        values = np.asarray(column.to_pylist())
        if values.dtype.kind == "U":
            names, values = (
                [str(v) for v in np.unique(values)],
                np.unique(values, return_inverse=True)[1],
            )
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
        return f"{self.split}/{index:08d}"

    def image(self, index: int) -> Image.Image:
        return self.open(index).rgb()

    def open(self, index: int) -> LazyImage:
        content = self.rows[index].as_py()
        name = f"{self.data} ({self.split} row {index})"
        if content is None:
            raise DataError(
                f"{name}: holds no image bytes; embed the images in the parquet, or skip bad ones"
            )
        return LazyImage(content, name)

    def stamp(self, index: int) -> bytes:
        return self.rows[index].as_py() or b""

    def manifest(self) -> str:
        return "\n".join(f"{file.name} {file.stat().st_size}" for file in self.files)
