"""Models on disk: a directory of ``model.safetensors`` and ``config.json`` that our zoo, timm and transformers read.

Loading is strict and executes nothing: every mismatch is listed in one error and no model is half-loaded.
"""

import hashlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.errors import ModelError, NpidError
from zoo.models import BACKBONES, Backbone, InputSpec, create
from zoo.utils.files import new_folder

WEIGHTS, CONFIG, BANK = "model.safetensors", "config.json", "bank.safetensors"
HALF = "float16"  # the config's npid.precision where the weights are stored so
_SHOWN = 12  # mismatches of one kind listed before "and N more"


def config_of(model: Backbone) -> dict[str, Any]:
    """The content of config.json.

    ``architecture`` and ``pretrained_cfg`` are timm's keys and absent where timm has no such network (a small stem,
    AlexNet). ``model_type`` is never written: transformers would then look for a class of its own.
    """
    spec = model.input
    config: dict[str, Any] = {"arch": model.arch, "embed_dim": model.embed_dim}
    if model.timm_name is not None:
        config |= {
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
    config["npid"] = {"stem": model.stem, "input": asdict(spec), **model.meta}
    return config


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions and matrices as fp16. Norms and biases are few, and a running variance may leave fp16's range."""
    return {
        name: t.half() if t.is_floating_point() and t.ndim > 1 else t for name, t in tensors.items()
    }


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
        bank: N×dim memory bank to save beside it.
        replace: whether an existing directory is replaced.
        half: whether convolutions and matrices are stored in half precision; they are loaded as fp32 all the same.

    Raises:
        ModelError: if a weight is not finite, or not in half precision; nothing is written.
        WriteError: if it cannot be written; nothing is left behind.
    """
    directory = Path(directory)
    config = config_of(model)
    tensors = {name: t.detach().contiguous().cpu() for name, t in model.state_dict().items()}
    if half:
        tensors, config["npid"]["precision"] = _halved(tensors), HALF
    if bad := [name for name, t in tensors.items() if not torch.isfinite(t).all()]:
        raise ModelError(
            f"{directory}: not saved, these weights are not finite{' as fp16' * half}: {_some(bad)}"
        )
    with new_folder(directory, replace=replace) as folder:
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        if bank is not None:
            save_file(
                {"bank": bank.detach().contiguous().cpu()}, folder / BANK, metadata={"format": "pt"}
            )
    return directory


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises:
        ModelError: if the file is missing, is no safetensors file (a pickle is refused unread) or is truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.read(2)
    if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise ModelError(
            f"{path}: a pickle, which could run code; only safetensors files are loaded"
        )
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not a complete safetensors file ({error}); fetch or export it again"
        ) from error


def _some(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def mismatches(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Everything that keeps ``found`` from being loaded as ``expected``: one line per kind of fault."""
    shared = [name for name in expected if name in found]
    kinds = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "wrong shape": [
            f"{name} is {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in shared
            if found[name].shape != expected[name].shape
        ],
        "wrong type": [
            f"{name} is {found[name].dtype} instead of {expected[name].dtype}".replace("torch.", "")
            for name in shared
            if found[name].dtype != expected[name].dtype
        ],
        "not finite": [
            name
            for name in shared
            if found[name].is_floating_point() and not torch.isfinite(found[name]).all()
        ],
    }
    return [f"{kind} ({len(names)}): {_some(names)}" for kind, names in kinds.items() if names]


def check(
    model: torch.nn.Module, tensors: dict[str, Tensor], source: str, *, half: bool = False
) -> None:
    """
    Raises:
        ModelError: listing every mismatch between the tensors and the model, stored in half precision or not.
    """
    expected = model.state_dict()
    faults = mismatches(_halved(expected) if half else expected, tensors)
    if faults:
        raise ModelError(f"{source} does not fit {type(model).__name__}:\n  " + "\n  ".join(faults))


def load_strictly(model: torch.nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors strictly.

    Raises:
        ModelError: listing every mismatch; the model is untouched.
    """
    check(model, tensors, source)
    model.load_state_dict(tensors)


def read_config(directory: str | Path) -> dict[str, Any]:
    """config.json of a model directory, checked.

    Raises:
        ModelError: if it is missing, no JSON, or lacks a key that rebuilding the backbone needs.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        found = (
            ", ".join(sorted(p.name for p in Path(directory).iterdir())[:8])
            if Path(directory).is_dir()
            else ""
        )
        there = f"the folder holds {found}" if found else "there is no such model directory"
        raise ModelError(
            f"{path}: not found ({there}); a model directory is what `npid export` writes"
        )
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict):
            raise TypeError("it is no JSON object")
        if "dim" in config:  # the key before it was called embed_dim
            config["embed_dim"] = config.pop("dim")
        arch, embed_dim, ours = config["arch"], config["embed_dim"], config["npid"]
        if not (
            isinstance(arch, str) and isinstance(embed_dim, int) and isinstance(ours["stem"], str)
        ):
            raise TypeError("arch and npid.stem must be strings, embed_dim an integer")
        spec = InputSpec(**ours["input"])
        if not (
            isinstance(spec.size, int) and 0 < spec.size <= 1 << 14 and 0.01 <= spec.crop_pct <= 1
        ):
            raise TypeError("npid.input needs a size in pixels and a crop_pct between 0.01 and 1")
        if not (
            len(spec.mean) == len(spec.std) == 3
            and all(math.isfinite(v) for v in (*spec.mean, *spec.std))
        ):
            raise TypeError("npid.input needs three finite values each for mean and std")
        if min(spec.std) <= 0:
            raise TypeError("npid.input needs values of std above 0")
        if ours.get("precision") not in (None, HALF):
            raise TypeError(f"npid.precision must be {HALF} or absent, for single precision")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        what = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{path}: not a model's config: {what}") from error
    return config


def describe(directory: str | Path) -> Backbone:
    """The backbone that a config.json describes, without its weights: on torch's meta device.

    Raises:
        ModelError: if the config is missing or describes no backbone of this zoo.
    """
    directory = Path(directory)
    config = read_config(directory)
    ours = {key: value for key, value in config["npid"].items() if key != "precision"}
    spec = InputSpec(**ours.pop("input"))
    spec = replace(spec, mean=tuple(spec.mean), std=tuple(spec.std))  # type: ignore[arg-type]
    if config["arch"] not in BACKBONES:
        raise ModelError(
            f"{directory / CONFIG}: backbone {config['arch']!r} is unknown; known: {', '.join(BACKBONES)}"
        )
    try:
        with torch.device(
            "meta"
        ):  # no memory is taken for what the config says before the weights bear it out
            model = create(
                config["arch"], embed_dim=config["embed_dim"], stem=ours.pop("stem"), input=spec
            )
    except (NpidError, RuntimeError, OverflowError, TypeError) as error:
        raise ModelError(f"{directory / CONFIG}: {error}") from error
    model.meta = ours
    return model


def load_directory(directory: str | Path) -> Backbone:
    """The backbone of a model directory, in eval mode on the CPU, in fp32 however it is stored.

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
    """The memory bank saved beside a model (N×dim), or None."""
    path = Path(directory) / BANK
    if not path.exists():
        return None
    tensors = read_tensors(path)
    if set(tensors) != {"bank"} or tensors["bank"].ndim != 2:
        raise ModelError(
            f"{path}: expected one N×D tensor called 'bank', found {_some(list(tensors))}"
        )
    return tensors["bank"]
