"""Where images come from: one file per kind, one registration per kind."""

import logging
import os
from pathlib import Path

from zoo.data.source import SOURCES, ArraySource, Source
from zoo.data.sources import builtin, folder, parquet, places, shards  # noqa: F401  registers them
from zoo.data.sources.subset import Subset
from zoo.data.split_names import canonical_split
from zoo.data.value_range import read_value_range, unused_range_note
from zoo.errors import DataError

__all__ = ["SOURCES", "ArraySource", "Source", "Subset", "canonical_name", "open_source"]

_log = logging.getLogger(__name__)
_logged: set[str] = set()


def open_source(data: str, split: str = "train", *, skip_bad: bool = False) -> Source:
    """Open one split of a data set.

    Args:
        data: a folder of images, an ImageFolder (``train/`` and ``val/`` or ``test/``), a folder
            of Hub-style parquet or of WebDataset shards (``*.tar``), Places205 or Places365 as
            published, or a built-in name (``digits``, ``cifar10``, ``cifar100``, ``stl10``).
        split: ``train``, ``val``, ``test`` or what the data calls another; ``test`` falls back to
            a validation split where there is no other.
        skip_bad: whether images that cannot be read are left out (their indices stay theirs)
            instead of an error.

    Returns:
        The images, their keys, and their labels where they have some.

    Raises:
        DataError: if no kind knows it, the split is missing or it holds no image.

    Example:
        >>> from zoo import open_source
        >>> digits = open_source("digits", split="test")
        >>> len(digits), digits.key(3), digits.image(3).size
        (360, 'test/000003', (8, 8))
        >>> digits.classes[digits.labels[3]]
        '9'
    """
    source = _kind_of(data)(data, canonical_split(split))
    source.skip_bad = skip_bad
    if not len(source):
        raise DataError(f"{data}: the {split} split holds no image")
    if not source.is_named:
        source.value_range = read_value_range(data)
    if source.value_range is None and not source.is_named:
        source.notes += unused_range_note(source)
    log_notes(f"{data}: ", source.notes)
    return source


def log_notes(prefix: str, notes: list[str]) -> None:
    """Log what of the data is not used: once, by the first process."""
    if os.environ.get("RANK", "0") != "0":
        return
    for note in notes:
        line = prefix + note
        if line not in _logged:
            _logged.add(line)
            _log.warning(line)


def canonical_name(data: str) -> str:
    """What a data set is known by from anywhere: the full path of a folder, or a built-in name.

    Raises:
        DataError: if no kind knows it.
    """
    if _kind_of(data).is_named:
        return data
    return str(Path(data).resolve())


def _kind_of(data: str) -> type[Source]:
    kinds = [SOURCES[name] for name in SOURCES]
    for kind in sorted(kinds, key=lambda kind: kind.fallback):
        if kind.accepts(data):
            return kind
    raise DataError(
        f"{data}: not a folder and no data set of that name; "
        "names: digits, cifar10, cifar100, stl10"
    )
