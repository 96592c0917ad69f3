"""What checkpoints carry beside tensors: notes such as paths, dates and settings.

Nothing of it is needed, and nothing of it is run: a note becomes a plain value, or an inert record.
"""

from typing import Any

# packages and modules of whose classes checkpoints keep records: settings, logs, versions
_NOTE_MODULES = (
    "addict",
    "argparse",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "detectron2.config",
    "easydict",
    "enum",
    "fractions",
    "fvcore.common",
    "hydra",
    "lightning",
    "lightning_fabric",
    "ml_collections",
    "mmcv",
    "mmengine",
    "numpy.dtypes",
    "numpy.random",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "timm.utils",
    "torch.optim",
    "torch.torch_version",
    "uuid",
    "yacs.config",
    "zoneinfo",
)
_NOTE_NAMES = {
    "builtins.dict",
    "builtins.bool",
    "builtins.float",
    "builtins.str",
    "builtins.bytes",
    "builtins.tuple",
    "builtins.type",
    "types.SimpleNamespace",
    "typing.Any",
    "typing.Dict",
    "typing.List",
    "typing.Optional",
    "typing.Union",
}


def is_note(name: str) -> bool:
    """Whether a name in a pickle is of a class that may stand as an inert record.

    Only classes are admitted: what is called with a small letter could be a function.

    Example:
        >>> is_note("omegaconf.dictconfig.DictConfig"), is_note("posix.system")
        (True, False)
    """
    if name in _NOTE_NAMES or name in NOTES:
        return True
    in_note_module = False
    for module in _NOTE_MODULES:
        in_note_module = in_note_module or name.startswith(f"{module}.")
    class_name = name.rpartition(".")[2].lstrip("_")
    return in_note_module and class_name[:1].isupper()


def _joined(*parts: Any) -> str:
    return "/".join(part for part in parts if isinstance(part, str)).replace("//", "/")


def _items(values: Any = (), *_: Any) -> list[Any]:
    """The members of a deque; a record is made of what follows."""
    return list(values) if isinstance(values, list | tuple) else []


def _complex(real: Any = 0, imaginary: Any = 0) -> str:
    return f"{real}+{imaginary}j"


def _record(*values: Any) -> list[Any]:
    """The arguments of a constructor whose value nobody needs."""
    return [value for value in values if isinstance(value, str | int | float)]


def _attribute(*_: Any) -> str:
    """A method of a logger's, as mmengine's name theirs: nothing is looked up."""
    return "an attribute"


# {name in a pickle: what stands for calling it}
NOTES: dict[str, Any] = {
    "builtins.complex": _complex,
    "builtins.getattr": _attribute,
    "builtins.slice": _record,
    "builtins.range": _record,
    "builtins.xrange": _record,
    "builtins.bytearray": _record,
    "collections.deque": _items,
    "datetime.date": _record,
    "datetime.datetime": _record,
    "datetime.time": _record,
    "datetime.timedelta": _record,
    "datetime.timezone": _record,
    "decimal.Decimal": _record,
    "fractions.Fraction": _record,
}
for _class in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"):
    for _module in ("pathlib", "pathlib._local"):
        NOTES[f"{_module}.{_class}"] = _joined
