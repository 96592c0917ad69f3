"""A folder of Hub-style parquet: ``{split}-*.parquet``, with encoded images and perhaps labels."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.images import LazyImage
from zoo.data.source import SOURCES, Source
from zoo.data.sources._files import file_state
from zoo.data.sources._labels import read_labels
from zoo.data.sources._left_out import note_on_loose
from zoo.data.split_names import choose_files, split_files
from zoo.errors import DataError, SplitError

if TYPE_CHECKING:
    import pyarrow

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "fine_label", "labels", "class", "class_name", "target", "category")


def _folders(data: str) -> tuple[Path, Path]:
    """Where the files may lie."""
    return Path(data), Path(data) / "data"


def _listing(data: str) -> list[tuple[str | None, Path]]:
    """The parquet files, with the split that each speaks of."""
    found: list[tuple[str | None, Path]] = []
    for folder in _folders(data):
        found += split_files(folder, ".parquet")
    return found


def _files(data: str, split: str) -> list[Path]:
    """The split's files, in order of name.

    Raises:
        DataError: if there are none; it says what there is.
    """
    chosen = choose_files(_listing(data), split)
    if chosen:
        return chosen
    others = sorted(path.name for path in Path(data).rglob("*.parquet"))
    raise SplitError(
        f"{data}: no {split} split; expected files like {split}-00000-of-00001.parquet, "
        f"found {', '.join(others[:6])}"
    )


def _hub_features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What the Hub's ``datasets`` library says of the columns; empty where it says nothing."""
    try:
        content = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = content["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _feature_type(feature: Any) -> str:
    """``Image``, ``ClassLabel`` and so on; empty where it says none."""
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _class_names(feature: Any) -> list[str] | None:
    """Class names in what ``datasets`` says of a column, or of the elements of its lists."""
    if isinstance(feature, list) and len(feature) == 1:
        return _class_names(feature[0])
    if not isinstance(feature, dict):
        return None
    names = feature.get("names")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    return _class_names(feature.get("feature"))


def _is_bytes(kind: "pyarrow.DataType") -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _holds_images(kind: "pyarrow.DataType") -> bool:
    """Whether a column of this type may hold encoded images: bytes, or a struct with some."""
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return _is_bytes(kind)
    return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)


def _image_column(file: Path, schema: "pyarrow.Schema", features: dict[str, Any]) -> str:
    """The column of the images.

    It is called ``img`` or ``image``, or else the only one that the Hub's metadata calls images.

    Raises:
        DataError: if there is none, or it holds none; it names columns and types.
    """
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    named = [name for name in _IMAGE_COLUMNS if name in schema.names]
    declared = [name for name in schema.names if _feature_type(features.get(name)) == "Image"]
    candidates: list[str] = [*named, *declared[:1]]
    for name in candidates:
        if _holds_images(schema.field(name).type):
            return name
    if not named:
        listed = ", ".join(schema.names)
        raise DataError(
            f"{file}: needs an image column called {' or '.join(_IMAGE_COLUMNS)}, found {listed}"
        )
    raise DataError(
        f"{file}: the column {named[0]} has the type {schema.field(named[0]).type}, expected bytes "
        f"of an image file or a struct with a field bytes; the columns are {columns}"
    )


def _label_column(schema: "pyarrow.Schema", features: dict[str, Any]) -> str | None:
    """The column of the labels: by its name, or the only one that the metadata calls classes."""
    for name in _LABEL_COLUMNS:
        if name in schema.names:
            return name
    declared = [name for name in schema.names if _feature_type(features.get(name)) == "ClassLabel"]
    return declared[0] if len(declared) == 1 else None


def _encoded(chunk: "pyarrow.Array") -> "pyarrow.Array":
    """The bytes of a chunk of images, null where a row has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    content = chunk
    if pa.types.is_struct(chunk.type):
        content = pc.struct_field(chunk, "bytes")  # null where the struct is
    return content.cast(pa.large_binary())


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
        return bool(_listing(data))

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        try:
            import pyarrow as pa
        except ImportError as error:
            raise DataError(
                f"{data}: reading parquet needs pyarrow: pip install 'npid-zoo[data]'"
            ) from error
        self.files = _files(data, split)
        states = "\n".join(file_state(file) for file in self.files)
        self._states = hashlib.sha256(states.encode()).hexdigest()
        try:
            self._read()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.files[0].parent}: the {split} parquet cannot be read ({error}); "
                "fetch it again"
            ) from error
        self._note_others()

    def _read(self) -> None:
        """Read images and labels from the files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        chunks: list[pa.Array] = []
        values: list[Any] = []
        label_type = ""
        label_column = None
        names = None
        first_columns = ""
        for file in self.files:
            schema = pq.read_schema(file)
            features = _hub_features(schema.metadata)
            image_column = _image_column(file, schema, features)
            label_column = _label_column(schema, features)
            columns = [image_column]
            if label_column is not None:
                columns.append(label_column)
                label_type = label_type or f"{label_column} ({schema.field(label_column).type})"
                names = names or _class_names(features.get(label_column))
            first_columns = first_columns or ", ".join(schema.names)
            table = pq.read_table(file, columns=columns, partitioning=None)
            for chunk in table.column(image_column).chunks:
                chunks.append(_encoded(chunk))
            if label_column is None:
                values += [None] * len(table)
            else:
                values += _plain_values(table.column(label_column))
        self.rows = pa.chunked_array(chunks, pa.large_binary())
        if not label_type:
            self.label_problem = (
                f"no column is called {', '.join(_LABEL_COLUMNS[:3])}; "
                f"the columns are {first_columns}"
            )
            return
        labels, classes, problem = read_labels(values, names)
        if problem:
            problem = f"column {label_type}: {problem}"
        if classes is None:
            self.label_problem = problem
        else:
            self.set_labels(labels, classes, problem)

    def _note_others(self) -> None:
        """Note files and images that are not read."""
        unnamed = []
        for split, path in _listing(self.data):
            if split is None and path not in self.files:
                unnamed.append(path.name)
        if unnamed:
            self.notes.append(
                f"{len(unnamed)} parquet files, as {unnamed[0]}, are left out: no word of their "
                "names (train, val, test) says which split they are of"
            )
        elsewhere = set(Path(self.data).rglob("*.parquet"))
        elsewhere -= {path for _, path in _listing(self.data)}
        if elsewhere:
            first = min(elsewhere).relative_to(self.data)
            self.notes.append(
                f"{len(elsewhere)} parquet files in other folders, as {first}, are left out: "
                "give such a folder as DATA"
            )
        self.notes += note_on_loose(Path(self.data), "parquet files")

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
        return LazyImage(content, name, self.value_range)

    def fingerprint(self, index: int) -> bytes:
        """The encoded image."""
        content: bytes | None = self.rows[index].as_py()
        return content or b""

    def local_fingerprint(self, index: int) -> bytes:
        """Sizes and times of the files as they were read, and the row."""
        return f"{self._states} {index}".encode()

    def manifest(self) -> str:
        """Names and sizes of the files."""
        return "\n".join(f"{file.name} {file.stat().st_size}" for file in self.files)


def _plain_values(column: "pyarrow.ChunkedArray") -> list[Any]:
    """The labels as Python's values; None for all where their type has no such values."""
    import pyarrow as pa

    try:
        values: list[Any] = column.to_pylist()
    except (pa.ArrowException, NotImplementedError, ValueError):
        return [None] * len(column)
    return values
