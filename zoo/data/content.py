"""Hashes of images' bytes, each computed once on a machine for as long as its file stays."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.source import ArraySource, Source
from zoo.data.sources.builtin import cache_folder
from zoo.errors import NpidError
from zoo.utils.files import new_file

_PAIR = np.dtype([("state", "<u8"), ("content", "<u8")])


def content_hashes(source: Source) -> NDArray[np.uint64]:
    """Hash the bytes that each image is decoded from.

    What was hashed before, of files whose size and times are still the same, is taken from the
    cache folder; the others are read. Where the folder cannot be written nothing is kept.

    Args:
        source: of the images.

    Returns:
        N numbers of 64 bits, 0 for an image that is not there.
    """
    # another range makes other pixels of the same bytes
    values = b"" if source.value_range is None else f"{source.value_range}".encode()
    states = np.empty(len(source), np.uint64)
    for index in range(len(source)):
        state = source.key(index).encode() + values + b"\0" + source.local_fingerprint(index)
        states[index] = _number(state)
    path = _cache_file(source)
    known = _read(path)
    positions = np.searchsorted(known["state"], states)
    positions = np.minimum(positions, max(len(known) - 1, 0))
    is_known = np.zeros(len(source), bool)
    hashes = np.zeros(len(source), np.uint64)
    if len(known):
        is_known = known["state"][positions] == states
        hashes[is_known] = known["content"][positions[is_known]]
    missing = np.flatnonzero(~is_known)
    if not len(missing):
        return hashes

    def read(index: int) -> int:
        content = source.encoded(index)
        return _number(values + content) if content is not None else 0

    with ThreadPoolExecutor() as pool:
        hashes[missing] = np.fromiter(pool.map(read, missing.tolist()), np.uint64, len(missing))
    readable = hashes != 0
    pairs = np.zeros(int(readable.sum()), _PAIR)
    pairs["state"] = states[readable]
    pairs["content"] = hashes[readable]
    _write(path, pairs)
    return hashes


def content_digest(source: Source) -> str:
    """The sha256 of all images' hashes: the same wherever the same bytes lie."""
    if isinstance(source, ArraySource):
        return source.digest  # covers all pixels
    return hashlib.sha256(content_hashes(source).astype("<u8").tobytes()).hexdigest()


def _number(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _cache_file(source: Source) -> Path:
    name = f"{Path(source.data).absolute()}\n{source.split}"
    return cache_folder() / "content" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npy"


def _read(path: Path) -> NDArray[np.void]:
    """What is known, in order of the states; nothing where there is no file, or a damaged one."""
    try:
        pairs: NDArray[np.void] = np.load(path)
        if pairs.dtype != _PAIR or pairs.ndim != 1:
            raise ValueError("not pairs of hashes")
    except (OSError, ValueError, EOFError):
        return np.zeros(0, _PAIR)
    return pairs


def _write(path: Path, pairs: NDArray[np.void]) -> None:
    pairs = np.sort(pairs, order="state")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as aside, open(aside, "wb") as file:
            np.save(file, pairs)
    except (OSError, NpidError):
        return  # a cache that cannot be written costs time, and nothing else
