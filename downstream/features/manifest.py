"""The manifest of a feature store: which rows there are, of what, with the blocks' checksums."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo import DataError

MANIFEST = "manifest.json"
ROWS = "rows.bin"
KEYS = "keys.bin"
RECORDS = "records.bin"
FORMAT = 1
RECORD = np.dtype([("end", "<u8"), ("label", "<i4"), ("fingerprint", "<u4")])
ROW_DTYPES: Mapping[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype("<u2"),  # numpy has no bfloat16: its 16 bits
}


@dataclass(kw_only=True)
class Part:
    """Images that came from one data set.

    Attributes:
        data: what ``open_source`` takes.
        split: ``train`` or ``test``.
        digest: of the data set when it was embedded last.
        first: its first row; its rows end where the next part's begin.
        bad: key → fingerprint of the images that could not be read and were left out.
        fingerprints: what the fingerprints of its images are made of: ``content``, their bytes, or
            ``size`` in stores of older versions.
    """

    data: str
    split: str
    digest: str
    first: int
    bad: dict[str, int] = field(default_factory=dict)
    fingerprints: str = "size"


@dataclass(kw_only=True)
class Block:
    """Rows that were written together.

    Attributes:
        end: the row after its last one.
        keys_end: the byte after its last key.
        rows: sha256 of its bytes in ``rows.bin``.
        keys: sha256 of its bytes in ``keys.bin``.
        records: sha256 of its bytes in ``records.bin``.
    """

    end: int
    keys_end: int
    rows: str
    keys: str
    records: str

    @property
    def checksums(self) -> dict[str, str]:
        """{file name: sha256 of the block's bytes in it}."""
        return {ROWS: self.rows, KEYS: self.keys, RECORDS: self.records}


@dataclass(kw_only=True)
class StoreManifest:
    """What a store holds.

    Attributes:
        model: what the user typed, or where it lies.
        model_sha256: of its weight file.
        input: size, crop_pct, mean and std of its preprocessing.
        dim: numbers in a row.
        dtype: of a row, ``float32`` or ``bfloat16``.
        classes: names of all labels.
        parts: the data sets that the rows came from, in order of rows.
        blocks: in order of rows.
    """

    model: str
    model_sha256: str
    input: dict[str, Any]
    dim: int
    dtype: str
    classes: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of rows."""
        return self.blocks[-1].end if self.blocks else 0

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file up to the last block."""
        if not self.blocks:
            return {ROWS: 0, KEYS: 0, RECORDS: 0}
        return self.ends(self.blocks[-1])

    def ends(self, block: Block) -> dict[str, int]:
        """Where a block ends in each file, in bytes."""
        row_size = self.dim * ROW_DTYPES[self.dtype].itemsize
        return {
            ROWS: block.end * row_size,
            KEYS: block.keys_end,
            RECORDS: block.end * RECORD.itemsize,
        }

    def text(self) -> str:
        """The manifest as JSON."""
        content = {"format": FORMAT, "count": self.count, **asdict(self)}
        for part in content["parts"]:
            if part["fingerprints"] == "size":  # as older versions wrote it: without the word
                del part["fingerprints"]
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_manifest(folder: str | Path) -> StoreManifest:
    """Read the manifest of a store.

    Raises:
        DataError: if there is none, or it is none of ours.
    """
    path = Path(folder) / MANIFEST
    try:
        return _parse(path, json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{path}: not found; a store is what `npid embed MODEL DATA --out DIR` writes"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: not the manifest of a store ({error}); embed again into another folder"
        ) from error


def _parse(path: Path, content: dict[str, Any]) -> StoreManifest:
    version = content.pop("format")
    count = content.pop("count")
    if version != FORMAT:
        raise DataError(
            f"{path}: written by another version of npid-zoo (format {version}); embed again"
        )
    parts = [Part(**part) for part in content.pop("parts")]
    blocks = [Block(**block) for block in content.pop("blocks")]
    manifest = StoreManifest(**content, parts=parts, blocks=blocks)
    for number in (manifest.dim, *(n for block in blocks for n in (block.end, block.keys_end))):
        if type(number) is not int or not 0 <= number < 1 << 48:
            raise TypeError(f"{number!r} is no count of rows, bytes or dimensions")
    ends = [(0, 0)] + [(block.end, block.keys_end) for block in blocks]
    for earlier, later in itertools.pairwise(ends):
        if later[0] <= earlier[0] or later[1] < earlier[1]:
            raise ValueError(f"a block ends at {later}, the one before it at {earlier}")
    if manifest.dtype not in ROW_DTYPES or manifest.count != count or manifest.dim < 1:
        raise ValueError("dtype, dim or count is not right")
    return manifest
