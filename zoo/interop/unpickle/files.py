"""The files around pickles: torch.save's two formats, and plain pickles."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ModelError
from zoo.interop.unpickle.machine import Global, Machine, StandIn
from zoo.interop.unpickle.rebuild import STORAGES, Array, DType, Storage

_MAGIC, _PROTOCOL = (
    0x1950A86A20F9469CFC6C,
    1001,
)  # torch.save before 1.6: both, then the machine's sizes, then the object


class _Storages:
    """Storages by key. ``limit`` is the file's size: no more bytes than that are ever set aside."""

    def __init__(self, limit: int, fetch: Callable[[str, int], bytes] | None = None) -> None:
        self.found: dict[str, Storage] = {}
        self.size, self.limit, self.fetch = limit, limit, fetch

    def __call__(self, saved: tuple) -> Any:
        kind, what, *rest = saved
        if kind == "module" and isinstance(
            what, Global
        ):  # a class with its source, before torch 1.6
            return what
        if kind != "storage" or not isinstance(what, Global) or what.name not in STORAGES:
            raise ValueError("a persistent id that is no storage")
        key, _, numel, *view = rest
        if view and view[0] is not None:
            raise ValueError("views of storages are not supported")
        dtype = STORAGES[what.name]
        if str(key) not in self.found:
            if type(numel) is not int or not 0 <= numel * dtype.itemsize <= self.limit:
                raise ValueError(f"storage {key} is larger than the rest of the file")
            self.limit -= numel * dtype.itemsize
            values = torch.empty(numel, dtype=dtype)
            self.found[str(key)] = Storage(values)
            if self.fetch is not None:
                _fill(values, self.fetch(str(key), numel * dtype.itemsize))
        found = self.found[str(key)]
        if found.values.dtype != dtype or found.values.numel() != numel:
            raise ValueError(f"storage {key} is named with two types or sizes")
        return found


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
            names = ", ".join(dict.fromkeys(machine.refused))
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
    if _run(file, storages) != _PROTOCOL or not _run(file, storages).get("little_endian", False):
        raise ValueError("an unknown version of the torch.save format, or big-endian")
    value = _run(file, storages)
    for key in _run(file, storages):
        values = storages.found[str(key)].values
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != values.numel():
            raise ValueError(f"storage {key} has {numel} values instead of {values.numel()}")
        _fill(values, file.read(numel * values.dtype.itemsize))
    return value


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """The same containers with finished numpy arrays; ``done`` holds what was seen, for cycles and shared parts."""
    if isinstance(value, Array | DType):
        return value.value if isinstance(value, Array) else value.code
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, StandIn):
        done[id(value)] = value
        _plain(value.state, done)
    elif isinstance(value, dict | list):
        done[id(value)] = value
        for key in value if isinstance(value, dict) else range(len(value)):
            value[key] = _plain(value[key], done)
    elif isinstance(value, tuple):
        value = done[id(value)] = tuple(_plain(item, done) for item in value)
    return value


def read(path: str | Path) -> Any:
    """The content of a ``torch.save`` file or a plain pickle: containers, numbers, strings, tensors on the CPU, numpy
    arrays and :class:`StandIn` records. Nothing in the file is run.

    Raises:
        ModelError: if the file is missing or damaged, or names anything but tensors and containers (all are listed).
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            return _plain(
                _read_zip(file, size) if start == b"PK\x03\x04" else _read_stream(file, size), {}
            )
        except ModelError as error:
            raise ModelError(
                f"{path}: {error}; have someone you trust save it again as safetensors"
            ) from error
        except Exception as error:  # whatever a damaged file provokes in the parsers: they promise no narrower type
            raise ModelError(
                f"{path}: not a complete torch.save file or pickle ({type(error).__name__}: {error}); fetch it again"
            ) from error
