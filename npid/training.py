"""Pretraining as the command line shows it; the demo uses it too."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from npid.console import log, progress_bar
from npid.monitor import knn_monitor
from pretrain import PretrainConfig, pretrain
from pretrain.checkpoint import CHECKPOINT, read_progress
from pretrain.communicator import open_communicator
from pretrain.config import from_dict
from zoo.data.sources import open_source


def train(
    data: str,
    out: Path,
    settings: PretrainConfig,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 0,
    skip_bad: bool = False,
    keep_settings: bool = True,
    change_processes: bool = False,
) -> Path:
    """Open the data, train with progress and kNN scores, return the run folder.

    Args:
        keep_settings: whether ``settings`` were asked for, and so must be those of a run that is resumed.
        change_processes: whether another number of processes may go on with a run.
    """
    with open_communicator(device) as communicator:
        source = communicator.rank_zero_first(lambda: open_source(data, skip_bad=skip_bad))
        first = communicator.rank == 0
        begun = resume and (out / CHECKPOINT).exists()
        at = communicator.rank_zero_first(lambda: read_progress(out) if begun else None)
        if at and not keep_settings:
            settings = from_dict(at.settings)
        epochs = settings.epochs
        done = at.epoch * len(source) + at.loss_count if at else 0
        if first:
            many = f" and {communicator.size - 1} more" if communicator.size > 1 else ""
            log.print(
                f"{data}: {len(source):,} images; {settings.backbone} on {device}{many}, {epochs} epochs"
            )

        def told(top1: float) -> None:
            if first:
                log.print(f"kNN top-1 {top1:.2%}")

        with (
            progress_bar("pretrain", epochs * len(source), done) if first else nullcontext() as bar
        ):

            def on_step(now: dict[str, Any]) -> None:
                if bar is not None:
                    bar.add(
                        now["images"], f"epoch {now['epoch'] + 1}/{epochs} loss {now['loss']:.3f}"
                    )

            monitor = knn_monitor(source, device=device, workers=workers, told=told)
            return pretrain(
                source,
                out,
                settings,
                resume=resume,
                device=device,
                workers=workers,
                monitor=monitor,
                on_step=on_step,
                same_settings=keep_settings,
                communicator=communicator,
                change_processes=change_processes,
            )
