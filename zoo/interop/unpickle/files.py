"""The files around pickles: torch.save's two formats, and plain pickles."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ModelError, shorten
from zoo.interop.unpickle.machine import Global, Machine, StandIn
from zoo.interop.unpickle.rebuild import STORAGES, Array, DType, Storage

# torch.save before 1.6 writes both, then the machine's sizes, then the object
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_ID = 8  # parts of a storage's id
_MAX_MESSAGE = 2000  # characters of a message that the file has a part in


class _Storages:
    """The storages of a file, by key.

    Attributes:
        by_key: those that were named so far.
        size: of the file, bytes.
        limit: bytes that may still be set aside: never more than the file's size in all.
        fetch: reads a storage's bytes by its key and length; None where they come after the object.
    """

    def __init__(self, size: int, fetch: Callable[[str, int], bytes] | None = None) -> None:
        self.by_key: dict[str, Storage] = {}
        self.size = size
        self.limit = size
        self.fetch = fetch

    def __call__(self, persistent_id: tuple[Any, ...]) -> Any:
        kind, of_class, *rest = persistent_id
        if not isinstance(kind, str):
            raise ValueError("a persistent id that is no storage")
        if kind == "module" and isinstance(of_class, Global):
            return of_class  # a class with its source, before torch 1.6
        if kind != "storage" or not isinstance(of_class, Global) or of_class.name not in STORAGES:
            raise ValueError("a persistent id that is no storage")
        key, _, numel, *view = rest
        if not isinstance(key, str | int) or len(rest) > _MAX_ID:
            raise ValueError("a storage whose key is no string and no number")
        if view and view[0] is not None:
            raise ValueError("views of storages are not supported")
        dtype = STORAGES[of_class.name]
        if str(key) not in self.by_key:
            self.by_key[str(key)] = self._new(str(key), numel, dtype)
        storage = self.by_key[str(key)]
        if storage.values.dtype != dtype or storage.values.numel() != numel:
            raise ValueError(f"storage {key} is named with two types or sizes")
        return storage

    def _new(self, key: str, numel: Any, dtype: torch.dtype) -> Storage:
        """Set a storage aside, and fill it where its bytes can be had now."""
        if type(numel) is not int or not 0 <= numel * dtype.itemsize <= self.limit:
            raise ValueError(f"storage {key} is larger than the rest of the file")
        self.limit -= numel * dtype.itemsize
        values = torch.empty(numel, dtype=dtype)
        if self.fetch is not None:
            _fill(values, self.fetch(key, numel * dtype.itemsize))
        return Storage(values)


def _fill(values: Tensor, content: bytes) -> None:
    if len(content) != values.numel() * values.dtype.itemsize:
        raise ValueError("a storage is cut short")
    if content:
        values.view(torch.uint8).numpy()[:] = np.frombuffer(content, np.uint8)


def _run(file: IO[bytes], storages: _Storages) -> Any:
    machine = Machine(storages, storages.size + 4096)
    try:
        value = machine.run(file)
    finally:
        if machine.refused:
            names = shorten(", ".join(machine.refused), _MAX_MESSAGE)
            raise ModelError(f"refused: the pickle names {names}; nothing was run")
    return value


def _read_zip(file: IO[bytes], size: int) -> Any:
    """torch.save since 1.6: an uncompressed zip of data.pkl and one entry per storage."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        (pickle,) = (name for name in entries if name.endswith("/data.pkl") or name == "data.pkl")
        root = pickle.removesuffix("data.pkl")

        def read(name: str, expected: int | None = None) -> bytes:
            info = entries[name]
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise ValueError(f"{name} is compressed, which torch.save never does")
            if expected not in (None, info.file_size):
                raise ValueError(f"{name} has {info.file_size} bytes instead of {expected}")
            return archive.read(info)

        if f"{root}byteorder" in entries and read(f"{root}byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        read(pickle)  # checks its size and CRC before it is interpreted
        with archive.open(pickle) as program:
            return _run(
                program, _Storages(size, lambda key, length: read(f"{root}data/{key}", length))
            )


def _read_stream(file: IO[bytes], size: int) -> Any:
    """torch.save before 1.6 (pickles, then the storages' bytes), or a plain pickle."""
    storages = _Storages(size)
    first = _run(file, storages)
    if first != _MAGIC:
        return first
    protocol = _run(file, storages)
    system = _run(file, storages)
    little_endian = isinstance(system, dict) and system.get("little_endian") is True
    if protocol != _PROTOCOL or not little_endian:
        raise ValueError("an unknown version of the torch.save format, or big-endian")
    value = _run(file, storages)
    keys = _run(file, storages)
    if not isinstance(keys, list) or len(keys) > len(storages.by_key):
        raise ValueError("a list of storages that are not named before")
    for key in keys:
        if not isinstance(key, str | int):
            raise ValueError("a storage whose key is no string and no number")
        values = storages.by_key[str(key)].values
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != values.numel():
            raise ValueError(f"storage {key} has {numel} values instead of {values.numel()}")
        _fill(values, file.read(numel * values.dtype.itemsize))
    return value


def _finished(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """The same containers with numpy's own arrays in the place of those in the making.

    Args:
        value: anything that the machine made.
        done: {id: what was seen, and what it became}: containers may hold themselves and share
            their parts. What was seen is kept, so that its id stays its own.
    """
    if isinstance(value, Array):
        return value.value
    if isinstance(value, DType):
        return value.code
    if id(value) in done:
        _, finished = done[id(value)]
        return finished
    if isinstance(value, StandIn):
        done[id(value)] = (value, value)
        _finished(value.state, done)
    elif isinstance(value, dict | list):
        done[id(value)] = (value, value)
        for key in value if isinstance(value, dict) else range(len(value)):
            value[key] = _finished(value[key], done)
    elif isinstance(value, tuple):
        finished = tuple(_finished(item, done) for item in value)
        done[id(value)] = (value, finished)
        return finished
    return value


def read(path: str | Path) -> Any:
    """Read a ``torch.save`` file or a plain pickle; nothing in it is run.

    Returns:
        Containers, numbers, strings, tensors on the CPU, numpy arrays and :class:`StandIn` records.

    Raises:
        ModelError: if the file is missing or damaged, or names anything but tensors and containers
            (all are listed).
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            is_zip = start == b"PK\x03\x04"
            content = _read_zip(file, size) if is_zip else _read_stream(file, size)
            return _finished(content, {})
        except ModelError as error:
            raise ModelError(
                f"{path}: {error}; have someone you trust save it again as safetensors"
            ) from error
        except Exception as error:  # whatever a damaged file provokes: the parsers promise no type
            raise ModelError(
                f"{path}: not a complete torch.save file or pickle ({type(error).__name__}: "
                f"{shorten(str(error), _MAX_MESSAGE)}); fetch it again"
            ) from error
