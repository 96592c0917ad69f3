"""The training loop."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from pretrain import checkpoint
from pretrain.checkpoint import METRICS, RunProgress
from pretrain.communicator import SINGLE_PROCESS, Communicator
from pretrain.config import PretrainConfig
from pretrain.memory_bank import MemoryBank
from pretrain.run_folder import (
    MetricsLog,
    check_processes,
    check_unchanged,
    local_batch_size,
    open_run,
)
from pretrain.step import NotFiniteError, train_step
from pretrain.train_state import TrainState, new_model
from zoo import Backbone, RunError, SettingsError
from zoo.data.augment import Augmenter
from zoo.data.loader import epoch_order, open_batches
from zoo.data.sources import Source
from zoo.utils.files import folder_lock
from zoo.utils.precision import fast_bf16, shrinks_a_pixel
from zoo.utils.signals import Stop, Stopped

SAVE_EVERY = 120.0  # seconds between checkpoints within an epoch

Monitor = Callable[[Backbone, MemoryBank], dict[str, float]]


class StepReport(TypedDict):
    """What is known after a training step.

    Attributes:
        step: Steps done since the start of the run.
        epoch: The pass over the images, from 0.
        loss: The mean over the images of all processes.
        lr: The learning rate that the step took.
        images: How many images all processes took together.
    """

    step: int
    epoch: int
    loss: float
    lr: float
    images: int


OnStep = Callable[[StepReport], None]


def learning_rate(config: PretrainConfig, epoch: float) -> float:
    """Find the learning rate after some passes over the images.

    Args:
        config: Of the run.
        epoch: Passes, fractions included.

    Example:
        >>> config = PretrainConfig(lr=1.0, epochs=10, lr_milestones=(4, 8))
        >>> learning_rate(config, 3.9), learning_rate(config, 4)
        (1.0, 0.1)
    """
    if epoch < config.warmup:
        return config.lr * (epoch / config.warmup)
    if config.schedule == "step":
        return config.lr * 0.1 ** sum(epoch >= milestone for milestone in config.lr_milestones)
    share = (epoch - config.warmup) / max(config.epochs - config.warmup, 1e-9)
    return config.lr * 0.5 * (1 + math.cos(math.pi * share))


def resolve_amp(config: PretrainConfig, device: torch.device) -> str:
    """Resolve ``auto`` to what the device multiplies fast: bf16 where it gets that right.

    Returns:
        ``bfloat16`` or ``float32``.

    Raises:
        SettingsError: Where bf16 is asked for and would be wrong.
    """
    if config.amp == "float32":
        return config.amp
    size = config.augment.size
    if device.type == "cpu" and shrinks_a_pixel(lambda: new_model(config), size):
        if config.amp == "auto":
            return "float32"
        raise SettingsError(
            f"amp=bfloat16 is not reliable on a CPU for {config.backbone} at augment.size={size} "
            "(a strided convolution sees a single pixel); take larger images or amp=float32"
        )
    if config.amp == "bfloat16":
        return config.amp
    return "bfloat16" if fast_bf16(device) else "float32"


class Trainer:
    """One process's part of a run that was opened.

    Attributes:
        source: The images.
        run: The run folder.
        config: Of the run, resolved.
        progress: Where the run stands; kept up to date.
        state: What learns.
        batch_size: Images per step, over all processes.
    """

    def __init__(
        self,
        source: Source,
        run: Path,
        config: PretrainConfig,
        progress: RunProgress,
        *,
        device: torch.device,
        workers: int = 0,
        communicator: Communicator = SINGLE_PROCESS,
        monitor: Monitor | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """Make what learns, or load it from the run's checkpoint.

        Args:
            source: The images.
            run: The run folder.
            config: Of the run, resolved.
            progress: Where the run stands.
            device: Where to train.
            workers: Processes that decode images; 0 for this one.
            communicator: The processes that train together.
            monitor: As in :func:`pretrain`.
            on_step: As in :func:`pretrain`.
        """
        self.source = source
        self.run = run
        self.config = config
        self.progress = progress
        self.device = device
        self.communicator = communicator
        self.monitor = monitor
        self.on_step = on_step
        self.local_batch_size = local_batch_size(config, source, communicator.size, device)
        self.batch_size = self.local_batch_size * communicator.size
        augmenter = Augmenter(config.augment, config.mean, config.std, config.seed)
        self.batches = open_batches(source, augmenter, device, workers)
        self.fresh = progress.total == 0
        self.state = TrainState.create(
            config, self.batches, len(source), self.autocast, self.fresh, communicator
        )
        if not self.fresh:
            self.state.load(run, device)
        last_step = -1 if self.fresh else progress.total
        self.log = MetricsLog(run / METRICS, last_step, quiet=communicator.rank > 0)
        self.last_save = time.monotonic()

    def autocast(self) -> torch.autocast:
        """Return the precision of the forward pass, as a context."""
        enabled = self.config.amp == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def train(self, stop: Stop) -> None:
        """Train to the last epoch.

        Raises:
            Stopped: When ``stop`` got a signal; the run is saved.
            RunError: If a loss or a gradient is not finite; the last checkpoint is whole.
        """
        config = self.config
        progress = self.progress
        if self.fresh:
            self.evaluate()
        self.last_save = time.monotonic()
        while progress.epoch < config.epochs:
            self.train_epoch(stop)
            progress.epoch += 1
            self.log.write(
                event="epoch",
                step=progress.total,
                epoch=progress.epoch,
                loss=progress.loss_sum / max(progress.loss_count, 1),
                lr=learning_rate(config, progress.epoch),
                seconds=round(progress.seconds, 2),
            )
            progress.step = 0
            progress.loss_sum = 0.0
            progress.loss_count = 0
            is_last = progress.epoch == config.epochs
            if config.eval_every and (progress.epoch % config.eval_every == 0 or is_last):
                self.evaluate()
            self.save()

    def train_epoch(self, stop: Stop) -> None:
        """Take the steps that the epoch still has."""
        progress = self.progress
        steps_per_epoch = len(self.source) // self.batch_size
        step_start = time.monotonic()
        for images, indices in self.remaining_batches():
            lr = learning_rate(self.config, progress.epoch + progress.step / steps_per_epoch)
            for group in self.state.optimizer.param_groups:
                group["lr"] = lr
            if len(indices) < 2:  # all others were bad and skipped
                progress.step += 1
                continue
            loss = self.train_step(images, indices)
            now = time.monotonic()
            num_images = len(indices) * self.communicator.size
            progress.seconds += now - step_start
            step_start = now
            progress.step += 1
            progress.total += 1
            progress.loss_sum += loss * num_images
            progress.loss_count += num_images
            if self.on_step is not None:
                self.on_step(
                    StepReport(
                        step=progress.total,
                        epoch=progress.epoch,
                        loss=loss,
                        lr=lr,
                        images=num_images,
                    )
                )
            signal, is_due = self.communicator.all_reduce_max_numbers(
                stop.signal or 0, now - self.last_save > SAVE_EVERY
            )
            if signal or is_due:
                self.save()
                if signal:
                    raise Stopped(signal, self.run)
                step_start = time.monotonic()

    def remaining_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over this process's part of the steps that the epoch still has.

        Returns:
            Images, B×3×S×S float32, and indices, B int64.
        """
        epoch = self.progress.epoch
        order = epoch_order(self.config.seed, epoch, len(self.source), self.batch_size)
        steps = order[self.progress.step :]
        by_rank = steps.view(len(steps), self.communicator.size, self.local_batch_size)
        return self.batches.augmented(epoch, by_rank[:, self.communicator.rank])

    def train_step(self, images: Tensor, indices: Tensor) -> float:
        """Take one step; see :func:`train_step`."""
        progress = self.progress
        seed = self.config.seed * 1_000_003 + progress.total
        try:
            return train_step(
                self.state, images, indices, self.config, seed, self.autocast, self.communicator
            )
        except NotFiniteError as error:
            where = f"{self.run}: stopped at step {progress.total} of epoch {progress.epoch}"
            raise self.communicator.peer_error(RunError(f"{where}: {error}")) from error

    def evaluate(self) -> None:
        """Log the monitor's scores, where there is a monitor."""
        if self.monitor is None or not self.config.eval_every:
            return
        self.communicator.broadcast(list(self.state.model.buffers()))
        scores = self.monitor(self.state.model.eval(), self.state.bank)
        self.state.model.train()
        self.log.write(
            event="knn",
            step=self.progress.total,
            epoch=self.progress.epoch,
            seconds=round(self.progress.seconds, 2),
            **scores,
        )

    def save(self) -> None:
        """Replace the checkpoint; rank 0 writes it."""
        tensors = self.state.tensors()

        def write() -> None:
            if self.communicator.rank == 0:
                checkpoint.save(self.run, tensors, self.progress)

        self.communicator.rank_zero_first(write)
        self.last_save = time.monotonic()


def pretrain(
    source: Source,
    out: str | Path,
    config: PretrainConfig,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 0,
    monitor: Monitor | None = None,
    on_step: OnStep | None = None,
    same_settings: bool = True,
    communicator: Communicator = SINGLE_PROCESS,
    change_processes: bool = False,
) -> Path:
    """Train a backbone without labels.

    Args:
        source: The images; their indices are the classes.
        out: The run folder: ``checkpoint.safetensors`` and ``metrics.jsonl``.
        config: Of the run.
        resume: Go on with the run in ``out``, bit for bit as if it had never stopped (on a CPU);
            starts it where there is none yet.
        device: Where to train.
        workers: Processes that decode images; 0 for this one.
        monitor: (model in eval mode, bank) → scores, called every ``eval_every`` epochs, before
            the first and after the last.
        on_step: Gets a :class:`StepReport` after each step.
        same_settings: Whether ``config`` must be that of the run that is resumed; otherwise that
            run's is used.
        communicator: The processes that train together
            (:func:`pretrain.communicator.open_communicator`). They see the batches that one would;
            rank 0 alone writes, and all must be able to read ``out``.
        change_processes: Whether a run may be resumed by another number of them, between epochs.

    Returns:
        The run folder.

    Raises:
        SettingsError: If a setting cannot be, or is not the run's; nothing was changed.
        DataError: If an image cannot be read; the last checkpoint is whole.
        RunError: If the run cannot go on; the last checkpoint is whole.
        Stopped: After SIGTERM or Ctrl-C; the run is saved.

    Example:
        >>> import tempfile
        >>> from pretrain import PRESETS, override
        >>> from zoo.data.sources import open_source
        >>> tiny = override(PRESETS["digits"], {"epochs": "1", "augment.size": "8"})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = pretrain(open_source("digits"), folder, tiny)
        ...     sorted(path.name for path in run.glob("[!.]*"))
        ['checkpoint.safetensors', 'metrics.jsonl']
    """
    run = Path(out)
    torch_device = torch.device(device)
    with contextlib.ExitStack() as lock, Stop().on_signals(communicator.size > 1) as stop:

        def open_locked() -> tuple[PretrainConfig, RunProgress]:
            config.check()
            requested = replace(config, amp=resolve_amp(config, torch_device))
            if communicator.rank == 0:
                lock.enter_context(folder_lock(run))
            resolved, progress = open_run(source, run, requested, resume)
            if same_settings:
                check_unchanged(requested, resolved, run)
            check_processes(progress, run, communicator.size, change_processes)
            local_batch_size(resolved, source, communicator.size, torch_device)
            return resolved, progress

        resolved, progress = communicator.rank_zero_first(open_locked)
        communicator.assert_same(
            f"the run in {run} and the images of {source.data}",
            (progress.total, progress.data["digest"], resolved),
        )
        progress.processes = communicator.size
        trainer = Trainer(
            source,
            run,
            resolved,
            progress,
            device=torch_device,
            workers=workers,
            communicator=communicator,
            monitor=monitor,
            on_step=on_step,
        )
        trainer.train(stop)
    return run
