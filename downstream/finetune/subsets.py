"""Parts of the labels: balanced over the classes, nested, and the same for a seed."""

import codecs
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from zoo.data.source import Source
from zoo.errors import DataError, SettingsError


def label_subset(source: Source, amount: str, seed: int) -> NDArray[np.int64]:
    """A class-balanced part of the training images; where bad ones are skipped, of the others.

    The images of a class come in an order that depends on the seed alone, and a part takes the
    first of them: the smaller parts of a seed lie within the larger ones.

    Args:
        source: with labels.
        amount: ``1%`` of each class; ``5`` images per class; or a text file with a key, or a file
            name, a line.
        seed: of the order.

    Returns:
        Indices, rising.

    Raises:
        SettingsError: for an amount that is none or gives some class no image; states the minimum.
        DataError: for a list that names images which the source lacks.

    Example:
        >>> from zoo import open_source
        >>> len(label_subset(open_source("digits"), "5", seed=0))
        50
    """
    labels, _ = source.require_labels()
    if Path(amount).is_file():
        return _readable(source, _listed(source, Path(amount)))
    present = np.unique(labels)  # classes without an image have no part
    members = [np.flatnonzero(labels == number) for number in present]
    sizes = _sizes(source, amount, [len(indices) for indices in members])
    parts = []
    for number, indices, size in zip(present, members, sizes, strict=True):
        shuffled = np.random.default_rng([seed, int(number)]).permutation(indices)
        part = _readable(source, shuffled, size)
        if len(part) < size and not amount.endswith("%"):
            name = (source.classes or [])[number]
            raise SettingsError(
                f"labels: {amount} images per class; only {len(part)} of class {name} of "
                f"{source.data} can be read"
            )
        parts.append(part)
    chosen = np.sort(np.concatenate(parts))
    if len(chosen) < 2:
        raise DataError(f"{source.data}: labels {amount}: {len(chosen)} images can be read")
    return chosen


def _readable(
    source: Source, indices: NDArray[np.int64], size: int | None = None
) -> NDArray[np.int64]:
    """The first of some images that can be read; the first of all where bad ones are errors."""
    if not source.skip_bad:
        return indices[:size]
    readable: list[int] = []
    for index in indices.tolist():
        if len(readable) == size:
            break
        if source.is_readable(index):
            readable.append(index)
    return np.array(readable, np.int64)


def _sizes(source: Source, amount: str, counts: list[int]) -> list[int]:
    """How many images of each class an amount is."""
    try:
        if amount.endswith("%"):
            return _shares(amount, float(amount.removesuffix("%")) / 100, counts)
        per_class = int(amount)
    except ValueError:
        raise SettingsError(
            f"labels: expected 1%, a number of images per class or a file, got {amount!r}"
        ) from None
    if not 1 <= per_class <= min(counts):
        raise SettingsError(
            f"labels: {amount} images per class; the smallest class of {source.data} has "
            f"{min(counts)}"
        )
    return [per_class] * len(counts)


def _shares(amount: str, share: float, counts: list[int]) -> list[int]:
    total = sum(counts)
    if not 0 < share <= 1 or round(share * total) < len(counts):
        least = 100 * len(counts) / total
        raise SettingsError(
            f"labels: {amount} of {total} images does not give each of {len(counts)} classes one; "
            f"take at least {least:.2g}% and at most 100%"
        )
    sizes = []
    for count in counts:
        sizes.append(max(1, round(share * count)))
    return sizes


def read_list(path: Path) -> list[tuple[str, ...]]:
    r"""The lines of a text file of names, without empty ones.

    UTF-8 with or without a byte order mark, or UTF-16 with one; any line ends.

    Returns:
        For each line what it may mean: one text, or for bytes that are no UTF-8 the text with these
        as ``\xe9``, as they stand in keys, and the text in Latin-1.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", "replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8)
    lines = []
    for line in content.splitlines():
        if line.strip():
            lines.append(_spellings(line.strip()))
    return lines


def _spellings(line: bytes) -> tuple[str, ...]:
    try:
        return (line.decode(),)
    except UnicodeDecodeError:
        return (line.decode("utf-8", "backslashreplace"), line.decode("latin-1"))


def _listed(source: Source, path: Path) -> NDArray[np.int64]:
    """Indices of the images that a file names by key or by file name, as ImageNet's lists do."""
    keys = [source.key(index) for index in range(len(source))]
    names = Counter(PurePosixPath(key).name for key in keys)
    index_of = {}
    for index, key in enumerate(keys):
        name = PurePosixPath(key).name
        if names[name] == 1:
            index_of[name] = index
    for index, key in enumerate(keys):
        index_of[key] = index
    lines = read_list(path)
    missing: list[str] = []
    indices: list[int] = []
    for spellings in lines:
        found = [index_of[text] for text in spellings if text in index_of]
        if found:
            indices.append(found[0])
        else:
            missing.append(spellings[0])
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(lines)} images are not in {source.data}, "
            f"or not alone: {', '.join(missing[:5])}"
        )
    if len(lines) < 2:
        raise DataError(f"{path}: names {len(lines)} images, at least 2 are needed")
    return np.unique(indices)
