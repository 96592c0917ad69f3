"""What the constructors named in checkpoints amount to.

Their arguments are values that a hostile file may have chosen.
"""

import math
import re
import reprlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MAX_DIMENSIONS = 64  # as numpy and torch have them


@dataclass(frozen=True)
class Storage:
    """A flat run of values that tensors look into."""

    values: Tensor


@dataclass
class DType:
    """A numpy type in the making: its byte order comes after it."""

    code: str
    order: str = "<"

    def build(self, state: tuple[Any, ...]) -> None:
        """Take the byte order out of the state that numpy's types are pickled with."""
        self.order = ">" if isinstance(state[1], str) and state[1] == ">" else "<"

    def numpy(self) -> np.dtype[Any]:
        """Give numpy's own type."""
        return np.dtype(self.order + self.code)


@dataclass
class Array:
    """A numpy array in the making: shape, type and bytes come after it."""

    value: np.ndarray[Any, Any] | None = None

    def build(self, state: tuple[Any, ...]) -> None:
        """Take shape, type, order and bytes out of the state of a pickled numpy array."""
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # Python 2's bytes
            content = content.encode("latin-1")
        if not isinstance(content, bytes | bytearray) or not isinstance(dtype, DType):
            raise ValueError("a numpy array whose content or type is none")
        flat = np.frombuffer(content, dtype.numpy())
        shape = _size(shape)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _size(numbers: Any) -> tuple[int, ...]:
    """A shape: a few whole numbers."""
    if not isinstance(numbers, tuple | list) or len(numbers) > _MAX_DIMENSIONS:
        raise ValueError("a shape that is no short list of whole numbers")
    for number in numbers:
        if type(number) is not int or not 0 <= number < 2**62:
            raise ValueError("a shape that is no short list of whole numbers")
    return tuple(numbers)


def _dtype(code: Any, *_: Any) -> DType:
    if not isinstance(code, str) or not re.fullmatch(r"[fiub][1248]", code):
        raise ValueError(f"numpy type {reprlib.repr(code)} is not supported")
    return DType(code)


def _array(content: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    """What ``numpy._frombuffer`` makes, in pickle protocol 5."""
    array = Array()
    array.build((1, shape, dtype, order == "F", content))
    return array


def _empty_array(*_: Any) -> Array:
    return Array()


def _scalar(dtype: Any, content: Any) -> Any:
    content = content.encode("latin-1") if isinstance(content, str) else content
    if not isinstance(dtype, DType) or not isinstance(content, bytes):
        raise ValueError("a numpy number whose content or type is none")
    return np.frombuffer(content, dtype.numpy(), count=1)[0].item()


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    (offset,) = _size((offset,))
    size = _size(size)
    stride = _size(stride)
    if len(size) != len(stride):
        raise ValueError("a tensor's size and stride differ in length")
    numel = math.prod(size)
    if numel == 0:
        return storage.values.new_empty(size)
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    available = storage.values.numel()
    if numel > available or last >= available:
        raise ValueError("a tensor reaches beyond its storage")
    return torch.as_strided(storage.values, size, stride, offset)


def _typed(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor without a storage or a type")
    return _tensor(Storage(storage.values.view(dtype)), offset, size, stride)


def _parameter(data: Tensor | None = None, *_: Any) -> Tensor | None:
    if data is not None and not isinstance(data, Tensor):
        raise ValueError("a parameter that is no tensor")
    return data


def _mapping(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if not isinstance(pairs, list | tuple):
        return {}  # the factory of a defaultdict
    mapping = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError("a dictionary of something else than pairs")
        key, value = pair
        if not isinstance(key, str | int | float):
            raise ValueError(f"a {type(key).__name__} as a key")
        mapping[key] = value
    return mapping


def _members(values: Any = ()) -> set[Any]:
    if not isinstance(values, list | tuple | set | frozenset):
        raise ValueError(f"the members of a set in a {type(values).__name__}")
    if not all(isinstance(value, str | int | float | bytes) for value in values):
        raise ValueError("a set of more than numbers and strings")
    return set(values)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or not isinstance(encoding, str):
        raise ValueError("bytes of something that is no string")
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError(f"encoding {reprlib.repr(encoding)}")
    return text.encode(encoding)


def _words(*parts: Any) -> str:
    if len(parts) > _MAX_DIMENSIONS:
        raise ValueError("a device of many words")
    return ":".join(str(part) for part in parts if isinstance(part, str | int))


# {name in a pickle: what stands for calling it}
BUILDERS: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _words,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
    "builtins.set": _members,
    "builtins.frozenset": _members,
    "_codecs.encode": _encode,
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array,
    "numpy.dtype": _dtype,
}

# names that stay names, or become records of their attributes: the authors' memory bank and what
# hangs on it, the arguments that training scripts save, and types named as arguments of the above
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
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Bool": torch.bool,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
}

# {name of a storage's class: type of its values}
STORAGES = {"torch.storage.UntypedStorage": torch.uint8, "torch.UntypedStorage": torch.uint8}
# {name of a type in a pickle: the type}
DTYPES = {
    "torch.uint16": torch.uint16,
    "torch.uint32": torch.uint32,
    "torch.uint64": torch.uint64,
}
for _code, _type in _CODES.items():
    STORAGES[f"torch.{_code}Storage"] = _type
    STORAGES[f"torch.cuda.{_code}Storage"] = _type
    DTYPES[str(_type)] = _type
