"""What the constructors named in checkpoints amount to, on values that a hostile file may have chosen."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Storage:
    """A flat run of values that tensors look into."""

    values: Tensor


@dataclass
class DType:
    """A numpy type in the making: its byte order comes after it."""

    code: str
    order: str = "<"

    def build(self, state: tuple) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


@dataclass
class Array:
    """A numpy array in the making: shape, type and bytes come after it."""

    value: np.ndarray | None = None

    def build(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        content = (
            content.encode("latin-1") if isinstance(content, str) else content
        )  # Python 2's bytes
        flat = np.frombuffer(content, dtype.numpy())
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _dtype(code: str, *_: Any) -> DType:
    if not re.fullmatch(r"[fiub][1248]", str(code)):
        raise ValueError(f"numpy type {code!r} is not supported")
    return DType(code)


def _array(content: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    """Numpy's ``_frombuffer``: pickle protocol 5."""
    made = Array()
    made.build((1, shape, dtype, order == "F", content))
    return made


def _scalar(dtype: DType, content: bytes | str) -> Any:
    content = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(content, dtype.numpy(), count=1)[0].item()


def _tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise ValueError("a tensor's offset, size or stride is no small whole number")
    numel = math.prod(size)
    last = (
        offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if numel else 0
    )
    if numel > storage.values.numel() or (numel and last >= storage.values.numel()):
        raise ValueError("a tensor reaches beyond its storage")
    return (
        torch.as_strided(storage.values, size, stride, offset)
        if numel
        else storage.values.new_empty(size)
    )


def _typed(
    storage: Storage,
    offset: int,
    size: tuple,
    stride: tuple,
    grad: Any,
    hooks: Any,
    dtype: torch.dtype,
    *_: Any,
) -> Tensor:
    return _tensor(Storage(storage.values.view(dtype)), offset, size, stride)


def _parameter(data: Tensor | None = None, *_: Any) -> Tensor | None:
    if data is not None and not isinstance(data, Tensor):
        raise ValueError("a parameter that is no tensor")
    return data


def _mapping(pairs: Any = (), *_: Any) -> dict:
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    if not isinstance(pairs, list | tuple):
        return {}  # the factory of a defaultdict
    made = {}
    for key, value in pairs:
        if not isinstance(key, str | int | float):
            raise ValueError(f"a {type(key).__name__} as a key")
        made[key] = value
    return made


def _members(values: Any = ()) -> set:
    if not all(isinstance(value, str | int | float | bytes) for value in values):
        raise ValueError("a set of more than numbers and strings")
    return set(values)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError(f"encoding {encoding!r}")
    return text.encode(encoding)


def _words(*parts: Any) -> str:
    return ":".join(str(part) for part in parts if isinstance(part, str | int))


_RESTORE: dict[str, Any] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _typed,
}
_RESTORE |= {"_rebuild_parameter": _parameter, "_rebuild_parameter_with_state": _parameter}

# {name in a pickle: what stands for calling it}
BUILDERS: dict[str, Any] = {
    **{f"torch._utils.{name}": build for name, build in _RESTORE.items()},
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": tuple,
    "torch.device": _words,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
    "builtins.set": _members,
    "builtins.frozenset": _members,
    "_codecs.encode": _encode,
    "numpy.core.multiarray._reconstruct": lambda *_: Array(),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array,
    "numpy.dtype": _dtype,
}

# names that stay names, or become records of their attributes: the authors' memory bank and what hangs on it, the
# arguments that training scripts save, and types named as arguments of the above
INERT = {
    "lib.NCEAverage.NCEAverage",
    "lib.LinearAverage.LinearAverage",
    "lib.alias_multinomial.AliasMethod",
    "torch.nn.backends.thnn._get_thnn_function_backend",
    "argparse.Namespace",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "copyreg._reconstructor",
    "builtins.object",
    "builtins.dict",
    "builtins.list",
    "builtins.int",
    "numpy.ndarray",
}

_CODES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Bool": "bool",
}
_CODES |= {"Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8"}
STORAGES = {
    f"torch.{device}{code}Storage": getattr(torch, dtype)
    for code, dtype in _CODES.items()
    for device in ("", "cuda.")
}
STORAGES |= {"torch.storage.UntypedStorage": torch.uint8, "torch.UntypedStorage": torch.uint8}
DTYPES = {
    f"torch.{name}": getattr(torch, name)
    for name in (*_CODES.values(), "uint16", "uint32", "uint64")
}
