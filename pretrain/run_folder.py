"""A run's folder: beginning it or finding where it stands, what may go on with it, and its log."""

import json
from pathlib import Path
from typing import Any

import torch

from pretrain import checkpoint
from pretrain.checkpoint import CHECKPOINT, RunProgress
from pretrain.config import PretrainConfig, from_dict, to_dict
from pretrain.losses import LOSSES
from zoo import RunError, SettingsError
from zoo.data.content import content_digest
from zoo.data.source import Source
from zoo.results import library_versions
from zoo.utils.files import WriteError, write_text
from zoo.utils.nested import flatten_dict


def _portable_name(data: str) -> str:
    """A data set without the folders that it lies in: the name travels with the run."""
    return Path(data).resolve().name if Path(data).is_dir() else data


def open_run(
    source: Source, run: Path, requested: PretrainConfig, resume: bool
) -> tuple[PretrainConfig, RunProgress]:
    """Begin a run, or find where it stands.

    Args:
        source: The images.
        run: The run folder.
        requested: The settings asked for.
        resume: Whether a run that is there already is gone on with.

    Returns:
        The run's settings (those it began with) and its progress.

    Raises:
        RunError: If there is a run already and ``resume`` is not set, or its images were others.
    """
    name = _portable_name(source.data)
    data = {
        "name": name,
        "count": len(source),
        "digest": source.digest,
        "content": content_digest(source),
    }
    versions = library_versions()
    if not (run / CHECKPOINT).exists():
        return requested, RunProgress(settings=to_dict(requested), data=data, versions=versions)
    if not resume:
        raise RunError(
            f"{run}: holds a run already; add --resume to go on with it, or choose another --out"
        )
    progress = checkpoint.read_progress(run)
    for key, what in (("count", "images"), ("digest", "digest of names and sizes")):
        if progress.data[key] != data[key]:
            raise RunError(
                f"{source.data}: the data set has changed since {run} began: {what} was "
                f"{progress.data[key]}, now {data[key]}; restore it, or start a new run"
            )
    content = progress.data.setdefault("content", data["content"])  # older versions had none
    if content != data["content"]:
        raise RunError(
            f"{source.data}: images have changed since {run} began, though not in size: the digest "
            f"of their bytes was {content}, now {data['content']}; restore them, or start a new run"
        )
    config = from_dict(progress.settings)
    progress.settings = to_dict(config)  # under today's names
    return config, progress


def check_unchanged(requested: PretrainConfig, kept: PretrainConfig, run: Path) -> None:
    """Check that the settings asked for are those that a run began with.

    Raises:
        SettingsError: Listing the settings that differ.
    """
    new = flatten_dict(to_dict(requested))
    differing = []
    for key, old_value in flatten_dict(to_dict(kept)).items():
        if key in new and new[key] != old_value:
            differing.append(f"{key} is {old_value}, asked for {new[key]}")
    if differing:
        raise SettingsError(f"{run}: a run keeps its settings; {'; '.join(differing)}")


def check_processes(progress: RunProgress, run: Path, now: int, may_change: bool) -> None:
    """Check that so many processes can go on with a run.

    Args:
        progress: Where the run stands.
        run: The run folder.
        now: How many processes there are.
        may_change: Whether a run may go on with another number of processes, between epochs.

    Raises:
        RunError: If they cannot.
    """
    began = progress.processes
    if progress.total == 0 or began == now:
        return
    if progress.step:
        raise RunError(
            f"{run}: {began} process(es) began epoch {progress.epoch + 1}, now {now}; "
            f"finish it with {began}"
        )
    if not may_change:
        raise RunError(
            f"{run}: trained by {began} process(es), now {now}; "
            f"add --change-processes to go on with {now}"
        )


def local_batch_size(
    config: PretrainConfig, source: Source, processes: int, device: torch.device
) -> int:
    """Find how many images of a step each process takes.

    Raises:
        SettingsError: Listing what many processes cannot do with these settings.
    """
    batch_size = min(config.batch_size, len(source))
    if processes == 1:
        return batch_size
    faults = []
    if batch_size % processes or batch_size < 2 * processes:
        faults.append(
            f"batch_size: {batch_size} images are not dealt out evenly to {processes} processes, "
            f"at least 2 to each; set a multiple of {processes}"
        )
    if not LOSSES[config.loss.name].supports_distributed:
        faults.append(f"loss {config.loss.name} needs all rows in one process; choose exact, say")
    if config.sync_bn and device.type != "cuda":
        faults.append("sync_bn: torch synchronises BatchNorm on GPUs only")
    if source.skip_bad:
        faults.append(
            "--skip-bad: with many processes each must take as many images; "
            "remove the bad ones first"
        )
    if faults:
        raise SettingsError("; ".join(faults))
    return batch_size // processes


class MetricsLog:
    """Metrics as JSON lines; lines past the checkpoint are dropped when a run is resumed."""

    def __init__(self, path: Path, last_step: int, quiet: bool) -> None:
        """Open the log.

        Args:
            path: Of the file.
            last_step: Lines of later steps are dropped; -1 drops all.
            quiet: Whether nothing is written.
        """
        self.path = path
        self.quiet = quiet
        if quiet:
            return
        kept = []
        lines: list[str] = []
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines:
            if _is_before(line, last_step):
                kept.append(line + "\n")
        write_text(path, "".join(kept))

    def write(self, **values: Any) -> None:
        """Append a line."""
        if self.quiet:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise WriteError(
                f"cannot write {self.path}: {error.strerror or error}; the checkpoint before is "
                "whole, and --resume goes on from it"
            ) from error


def _is_before(line: str, last_step: int) -> bool:
    """Whether a line of the log is whole and of a step up to the last one; damaged ones are not."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return isinstance(step, int) and step <= last_step
