"""Pretraining as the command line shows it."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from npid.console import ProgressBar, log, progress_bar
from npid.monitor import knn_monitor
from pretrain import PretrainConfig, pretrain
from pretrain.checkpoint import CHECKPOINT, RunProgress, read_progress
from pretrain.communicator import open_communicator
from pretrain.config import from_dict
from pretrain.trainer import StepReport
from zoo.data.sources import open_source


def train(
    data: str,
    out: Path,
    config: PretrainConfig,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 0,
    skip_bad: bool = False,
    same_settings: bool = True,
    change_processes: bool = False,
) -> Path:
    """Open the data and train, with progress and kNN scores on the terminal.

    Args:
        data: A data set, as :func:`zoo.data.sources.open_source` takes it.
        out: The run folder.
        config: Of the run.
        resume: Whether to go on with the run in ``out``, or begin it.
        device: Where to train.
        workers: Processes that decode images; 0 for this one.
        skip_bad: Whether images that cannot be read are left out.
        same_settings: Whether ``config`` was asked for, and so must be that of a run that is
            resumed.
        change_processes: Whether another number of processes may go on with a run.

    Returns:
        The run folder.
    """
    with open_communicator(device) as communicator:
        source = communicator.rank_zero_first(lambda: open_source(data, skip_bad=skip_bad))
        is_first = communicator.rank == 0

        def read_existing() -> RunProgress | None:
            if resume and (out / CHECKPOINT).exists():
                return read_progress(out)
            return None

        progress = communicator.rank_zero_first(read_existing)
        images_done = 0
        if progress is not None:
            images_done = progress.epoch * len(source) + progress.loss_count
            if not same_settings:
                config = from_dict(progress.settings)
        if is_first:
            others = f" and {communicator.size - 1} more" if communicator.size > 1 else ""
            log.print(
                f"{data}: {len(source):,} images; {config.backbone} on {device}{others}, "
                f"{config.epochs} epochs"
            )

        def on_score(top1: float) -> None:
            if is_first:
                log.print(f"kNN top-1 {top1:.2%}")

        shown: AbstractContextManager[ProgressBar | None] = nullcontext()
        if is_first:
            shown = progress_bar("pretrain", config.epochs * len(source), images_done)
        with shown as bar:

            def on_step(report: StepReport) -> None:
                if bar is not None:
                    epoch = f"epoch {report['epoch'] + 1}/{config.epochs}"
                    bar.add(report["images"], f"{epoch} loss {report['loss']:.3f}")

            return pretrain(
                source,
                out,
                config,
                resume=resume,
                device=device,
                workers=workers,
                monitor=knn_monitor(source, device=device, workers=workers, on_score=on_score),
                on_step=on_step,
                same_settings=same_settings,
                communicator=communicator,
                change_processes=change_processes,
            )
