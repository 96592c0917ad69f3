"""Models on disk: directories that our zoo, timm and transformers read.

One holds ``model.safetensors`` and ``config.json``. Loading is strict and executes nothing: every
mismatch is listed in one error and no model is half-loaded.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.errors import ModelError, NpidError
from zoo.models import BACKBONES, Backbone, InputSpec, create
from zoo.utils.aside import recover
from zoo.utils.files import new_folder

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
BANK = "bank.safetensors"
HALF = "float16"  # the config's npid.precision where the weights are stored so
_SHOWN = 12  # mismatches of one kind listed before "and N more"
_LARGEST_INPUT = 1 << 14  # pixels; a config that says more is damaged
_PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def config_of(model: Backbone) -> dict[str, Any]:
    """Make the content of config.json.

    ``architecture`` and ``pretrained_cfg`` are timm's keys and absent where timm has no such
    network (a small stem, AlexNet). ``model_type`` is never written: transformers would then look
    for a class of its own.
    """
    config: dict[str, Any] = {"arch": model.arch, "embed_dim": model.embed_dim}
    if model.timm_name is not None:
        config |= _timm_config(model)
    config["npid"] = {"stem": model.stem, "input": asdict(model.input), **model.meta}
    return config


def _timm_config(model: Backbone) -> dict[str, Any]:
    """What timm looks for in config.json."""
    spec = model.input
    return {
        "architecture": model.timm_name,
        "num_classes": model.embed_dim,
        "num_features": model.feature_dim,
        "global_pool": "avg",
        "pretrained_cfg": {
            "input_size": [3, spec.size, spec.size],
            "pool_size": [spec.size // 32, spec.size // 32],
            "crop_pct": spec.crop_pct,
            "interpolation": "bilinear",
            "mean": list(spec.mean),
            "std": list(spec.std),
            "num_classes": model.embed_dim,
            "first_conv": model.first_conv,
            "classifier": model.timm_classifier,
        },
    }


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions and matrices as fp16.

    Norms and biases are few, and a running variance may leave fp16's range.
    """
    halved = {}
    for name, tensor in tensors.items():
        is_large = tensor.is_floating_point() and tensor.ndim > 1
        halved[name] = tensor.half() if is_large else tensor
    return halved


def save(
    model: Backbone,
    directory: str | Path,
    *,
    bank: Tensor | None = None,
    replace: bool = False,
    half: bool = False,
) -> Path:
    """Write a model directory in one step.

    Args:
        model: a backbone of this zoo.
        directory: must be absent or empty, unless ``replace``.
        bank: N×D memory bank to save beside it.
        replace: whether an existing directory is replaced.
        half: whether convolutions and matrices are stored in half precision; they are loaded as
            fp32 all the same.

    Returns:
        The directory.

    Raises:
        ModelError: if a weight is not finite, or not in half precision; nothing is written.
        WriteError: if it cannot be written; nothing is left behind.
    """
    directory = Path(directory)
    config = config_of(model)
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensors[name] = tensor.detach().contiguous().cpu()
    if half:
        tensors = _halved(tensors)
        config["npid"]["precision"] = HALF
    infinite = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if infinite:
        precision = " as fp16" if half else ""
        raise ModelError(
            f"{directory}: not saved, these weights are not finite{precision}: {_listed(infinite)}"
        )
    with new_folder(directory, replace=replace) as folder:
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        if bank is not None:
            rows = bank.detach().contiguous().cpu()
            save_file({"bank": rows}, folder / BANK, metadata={"format": "pt"})
    return directory


def sha256(path: str | Path) -> str:
    """Compute the hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, to the CPU.

    Raises:
        ModelError: if the file is missing, is no safetensors file (a pickle is refused unread) or
            is truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.read(2)
    if start in _PICKLE_STARTS:
        raise ModelError(
            f"{path}: a pickle, which could run code; only safetensors files are loaded"
        )
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not a complete safetensors file ({error}); fetch or export it again"
        ) from error


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def mismatches(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """List everything that keeps tensors from being loaded.

    Args:
        expected: the tensors of a model.
        found: the tensors of a file.

    Returns:
        One line per kind of mismatch; none if they fit.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    shapes = []
    types = []
    infinite = []
    for name, model_tensor in expected.items():
        if name not in found:
            continue
        tensor = found[name]
        if tensor.shape != model_tensor.shape:
            shapes.append(f"{name} is {tuple(tensor.shape)} instead of {tuple(model_tensor.shape)}")
        if tensor.dtype != model_tensor.dtype:
            dtypes = f"{name} is {tensor.dtype} instead of {model_tensor.dtype}"
            types.append(dtypes.replace("torch.", ""))
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            infinite.append(name)

    lines = []
    for kind, items in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("wrong shape", shapes),
        ("wrong type", types),
        ("not finite", infinite),
    ):
        if items:
            lines.append(f"{kind} ({len(items)}): {_listed(items)}")
    return lines


def check(
    model: torch.nn.Module, tensors: dict[str, Tensor], source: str, *, half: bool = False
) -> None:
    """Check that tensors fit a model.

    Args:
        model: is left as it is.
        tensors: by the model's names.
        source: where they come from, for the message.
        half: whether they are stored in half precision.

    Raises:
        ModelError: listing every mismatch.
    """
    expected = model.state_dict()
    faults = mismatches(_halved(expected) if half else expected, tensors)
    if faults:
        raise ModelError(f"{source} does not fit {type(model).__name__}:\n  " + "\n  ".join(faults))


def load_strictly(model: torch.nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors into a model, all of them or none.

    Args:
        model: takes the tensors.
        tensors: by the model's names.
        source: where they come from, for the message.

    Raises:
        ModelError: listing every mismatch; the model is untouched.
    """
    check(model, tensors, source)
    model.load_state_dict(tensors)


def read_config(directory: str | Path) -> dict[str, Any]:
    """Read config.json of a model directory and check it.

    Returns:
        Its content; ``embed_dim`` also where the file has the older key, ``dim``.

    Raises:
        ModelError: if it is missing, no JSON, or lacks a key that rebuilding the backbone needs.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise ModelError(
            f"{path}: not found ({_folder_content(Path(directory))}); a model directory is what "
            "`npid export` writes"
        )
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict):
            raise TypeError("it is no JSON object")
        if "dim" in config:
            config["embed_dim"] = config.pop("dim")
        _check_config(config)
    except KeyError as error:
        raise ModelError(f"{path}: not a model's config: lacks the key {error}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path}: not a model's config: {error}") from error
    return config


def _folder_content(directory: Path) -> str:
    """What there is instead of a config."""
    if not directory.is_dir():
        return "there is no such model directory"
    names = sorted(path.name for path in directory.iterdir())
    return f"the folder holds {', '.join(names[:8])}"


def _check_config(config: dict[str, Any]) -> None:
    """Check what rebuilding a backbone needs.

    Raises:
        KeyError: for a key that is not there.
        TypeError: for a value that cannot be.
    """
    section = config["npid"]
    names_fit = isinstance(config["arch"], str) and isinstance(section["stem"], str)
    if not names_fit or not isinstance(config["embed_dim"], int):
        raise TypeError("arch and npid.stem must be strings, embed_dim an integer")
    if section.get("precision") not in (None, HALF):
        raise TypeError(f"npid.precision must be {HALF} or absent, for single precision")
    spec = InputSpec(**section["input"])
    size_fits = isinstance(spec.size, int) and 0 < spec.size <= _LARGEST_INPUT
    if not size_fits or not 0.01 <= spec.crop_pct <= 1:
        raise TypeError("npid.input needs a size in pixels and a crop_pct between 0.01 and 1")
    for values in (spec.mean, spec.std):
        if len(values) != 3 or not all(math.isfinite(value) for value in values):
            raise TypeError("npid.input needs three finite values each for mean and std")
    if min(spec.std) <= 0:
        raise TypeError("npid.input needs values of std above 0")


def describe(directory: str | Path) -> Backbone:
    """Make the backbone that a config.json describes, without its weights: on torch's meta device.

    Raises:
        ModelError: if the config is missing or describes no backbone of this zoo.
    """
    directory = Path(directory)
    recover(directory)
    config = read_config(directory)
    meta = {key: value for key, value in config["npid"].items() if key != "precision"}
    spec = InputSpec(**meta.pop("input"))
    spec = replace(spec, mean=_triple(spec.mean), std=_triple(spec.std))
    if config["arch"] not in BACKBONES:
        raise ModelError(
            f"{directory / CONFIG}: backbone {config['arch']!r} is unknown; known: "
            f"{', '.join(BACKBONES)}"
        )
    try:
        # no memory is taken for what the config says before the weights bear it out
        with torch.device("meta"):
            model = create(
                config["arch"], embed_dim=config["embed_dim"], stem=meta.pop("stem"), input=spec
            )
    except (NpidError, RuntimeError, OverflowError, TypeError) as error:
        raise ModelError(f"{directory / CONFIG}: {error}") from error
    model.meta = meta
    return model


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    """Three values that JSON gives as a list."""
    red, green, blue = values
    return red, green, blue


def load_directory(directory: str | Path) -> Backbone:
    """Load the backbone of a model directory, in eval mode on the CPU.

    It is in fp32 however it is stored.

    Raises:
        ModelError: listing everything that does not fit.
    """
    directory = Path(directory)
    model = describe(directory)
    half = read_config(directory)["npid"].get("precision") == HALF
    tensors = read_tensors(directory / WEIGHTS)
    check(model, tensors, str(directory / WEIGHTS), half=half)
    model.to_empty(device="cpu").load_state_dict(tensors)
    return model.eval()


def load_bank(directory: str | Path) -> Tensor | None:
    """Load the memory bank saved beside a model (N×D), if there is one.

    Raises:
        ModelError: if the file holds anything but one matrix called ``bank``.
    """
    path = Path(directory) / BANK
    if not path.exists():
        return None
    tensors = read_tensors(path)
    if set(tensors) != {"bank"} or tensors["bank"].ndim != 2:
        raise ModelError(
            f"{path}: expected one N×D tensor called 'bank', found {_listed(list(tensors))}"
        )
    return tensors["bank"]
