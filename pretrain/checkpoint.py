"""One file that holds a whole run: ``checkpoint.safetensors``, replaced in one step."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo import RunError
from zoo.utils.files import new_file

CHECKPOINT, METRICS = "checkpoint.safetensors", "metrics.jsonl"
_FORMAT = 1


@dataclass
class RunProgress:
    """Where a run stands: everything about it that is no tensor.

    Attributes:
        settings: resolved, as plain values.
        data: name, count and digest of the data set.
        epoch: epochs completed.
        step: steps done in the epoch after those.
        total: steps done since the start.
        seconds: of training, scoring excluded.
        loss_sum, loss_count: of the epoch so far.
        versions: of the libraries that made it.
        processes: that train together.
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


def save(run: Path, tensors: dict[str, Tensor], position: RunProgress) -> None:
    """Replace the checkpoint; the old one stays whole until the new one is.

    Raises:
        WriteError: if it cannot be written; the old one is intact.
    """
    meta = json.dumps({"format": _FORMAT, **asdict(position)})
    with new_file(run / CHECKPOINT) as aside:
        save_file(
            {name: t.detach().contiguous() for name, t in tensors.items()},
            aside,
            metadata={"npid": meta},
        )


def read_progress(run: str | Path) -> RunProgress:
    """Where a run stands, without its tensors.

    Raises:
        RunError: if there is no checkpoint, or it is none of ours.
    """
    path = Path(run) / CHECKPOINT
    if not path.is_file():
        raise RunError(
            f"{path}: not found; a run folder is what `npid pretrain DATA --out RUN` makes"
        )
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["npid"])
        if meta.pop("format") != _FORMAT:
            raise RunError(
                f"{path}: written by another version of npid-zoo; resume it with that one"
            )
        return RunProgress(**meta)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise RunError(f"{path}: not a complete checkpoint ({error})") from error


def read_tensors(
    run: str | Path, part: str, device: str | torch.device = "cpu", rows: slice | None = None
) -> dict[str, Tensor]:
    """The tensors of one part (``model``, ``bank``, ``objective``, ``optimizer``), names without the prefix.

    Args:
        rows: read no others.
    """
    with safe_open(Path(run) / CHECKPOINT, "pt", device=str(device)) as file:
        names = [name for name in file.keys() if name.startswith(f"{part}.")]  # noqa: SIM118  no mapping
        if rows is None:
            return {name[len(part) + 1 :]: file.get_tensor(name) for name in names}
        return {name[len(part) + 1 :]: file.get_slice(name)[rows].to(device) for name in names}
