"""One file that holds a whole run: ``checkpoint.safetensors``, replaced in one step."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo import RunError
from zoo.utils.files import new_file

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
_HEADER = "npid"  # the key of our part of the file's metadata
_FORMAT = 1


@dataclass
class RunProgress:
    """Where a run stands: everything about it that is no tensor.

    Attributes:
        settings: Resolved, as plain values.
        data: Name, count and digest of the data set.
        versions: Of the libraries that made it.
        epoch: Epochs completed.
        step: Steps done in the epoch after those.
        total: Steps done since the start.
        seconds: Of training, scoring excluded.
        loss_sum: Of the images of the epoch so far.
        loss_count: How many images those are.
        processes: How many train together.
    """

    settings: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str]
    epoch: int = 0
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    processes: int = 1


def save(run: Path, tensors: Mapping[str, Tensor], progress: RunProgress) -> None:
    """Replace the checkpoint; the old one stays whole until the new one is.

    Args:
        run: The run folder.
        tensors: By name, each name beginning with its part and a dot.
        progress: Where the run stands.

    Raises:
        WriteError: If it cannot be written; the old one is intact.
    """
    header = json.dumps({"format": _FORMAT, **asdict(progress)})
    contiguous: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        contiguous[name] = tensor.detach().contiguous()
    with new_file(run / CHECKPOINT) as temporary:
        save_file(contiguous, temporary, metadata={_HEADER: header})


def read_progress(run: str | Path) -> RunProgress:
    """Read where a run stands, without its tensors.

    Raises:
        RunError: If there is no checkpoint, or it is none of ours.
    """
    path = Path(run) / CHECKPOINT
    if not path.is_file():
        raise RunError(
            f"{path}: not found; a run folder is what `npid pretrain DATA --out RUN` makes"
        )
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
        if header.pop("format") != _FORMAT:
            raise RunError(
                f"{path}: written by another version of npid-zoo; resume it with that one"
            )
        progress = RunProgress(**header)
        _check(progress)
    except (
        SafetensorError,
        LookupError,
        TypeError,
        ValueError,
        OSError,
        RecursionError,
    ) as error:
        raise RunError(f"{path}: not a complete checkpoint ({error})") from error
    return progress


def _check(progress: RunProgress) -> None:
    """Check what a file may claim.

    Raises:
        ValueError: Naming the first value that cannot be.
    """
    for name in ("settings", "data", "versions"):
        if not isinstance(getattr(progress, name), dict):
            raise ValueError(f"{name} must be an object")
    for name in ("count", "digest"):
        if name not in progress.data:
            raise ValueError(f"data must have a {name}")
    for name in ("epoch", "step", "total", "loss_count", "processes"):
        value = getattr(progress, name)
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    for name in ("seconds", "loss_sum"):
        value = getattr(progress, name)
        if not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, got {value!r}")


def read_tensors(
    run: str | Path, part: str, device: str | torch.device = "cpu", rows: slice | None = None
) -> dict[str, Tensor]:
    """Read the tensors of one part of a checkpoint.

    Args:
        run: The run folder.
        part: ``model``, ``bank``, ``objective`` (the loss) or ``optimizer``.
        device: Where the tensors go.
        rows: Read no others of each tensor; all by default.

    Returns:
        Tensors by name, without the part.
    """
    prefix = f"{part}."
    tensors: dict[str, Tensor] = {}
    with safe_open(Path(run) / CHECKPOINT, "pt", device=str(device)) as file:
        for full_name in list(file.keys()):
            if not full_name.startswith(prefix):
                continue
            name = full_name.removeprefix(prefix)
            if rows is None:
                tensors[name] = file.get_tensor(full_name)
            else:
                tensors[name] = file.get_slice(full_name)[rows].to(device)
    return tensors
