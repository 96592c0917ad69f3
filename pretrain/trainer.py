"""The training loop."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import torch
import torchvision
from torch import Tensor

import zoo
from pretrain import checkpoint
from pretrain.checkpoint import CHECKPOINT, METRICS, RunProgress
from pretrain.communicator import SINGLE_PROCESS, Communicator
from pretrain.config import PretrainConfig, from_dict, to_dict
from pretrain.losses import LOSSES
from pretrain.memory_bank import MemoryBank
from pretrain.train_state import Autocast, TrainState, new_model
from zoo import Backbone, RunError, SettingsError
from zoo.data.augment import Augmenter
from zoo.data.loader import epoch_order, open_batches
from zoo.data.sources import Source
from zoo.utils.files import folder_lock, write_text
from zoo.utils.nested import flatten_dict
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


class NotFiniteError(RunError):
    """A loss or a gradient that is infinite or no number; nothing was changed by the step."""


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


def train_step(
    state: TrainState,
    images: Tensor,
    indices: Tensor,
    config: PretrainConfig,
    seed: int,
    autocast: Autocast,
    communicator: Communicator = SINGLE_PROCESS,
) -> float:
    """Take one step of everything that learns.

    The device is waited for once, to read the loss and whether the gradient is finite before
    anything changes.

    Args:
        state: What learns.
        images: B×3×S×S float32.
        indices: B int64, the images' rows in the bank.
        config: Of the run.
        seed: Of the step: with it, a step is a function of its number.
        autocast: The precision of the forward pass.
        communicator: The processes that take the step together.

    Returns:
        The mean loss over the images of all processes.

    Raises:
        NotFiniteError: If the loss or a gradient is not finite, in any process.
    """
    own_seed = seed * communicator.size + communicator.rank
    torch.default_generator.manual_seed(own_seed)  # dropout
    if images.is_cuda:
        torch.cuda.manual_seed(own_seed)
    generator = torch.Generator().manual_seed(seed)

    with autocast():
        embeddings = state.embed(images)
    loss = state.loss(embeddings, indices, state.bank, generator).mean()
    state.optimizer.zero_grad(set_to_none=True)
    with communicator.watch_peers():  # with many processes it averages the gradients
        loss.backward()

    gradients = _gradients(state.optimizer)
    not_finite = torch.zeros(1, device=embeddings.device)
    # scales by one: GradScaler's kernel takes a third of the time of a norm
    torch._amp_foreach_non_finite_check_and_unscale_(
        gradients, not_finite, torch.ones_like(not_finite)
    )
    local_values = torch.cat([loss.detach().view(1), not_finite])
    values = communicator.all_reduce_sum(local_values) / communicator.size
    mean_loss, share_not_finite = values.tolist()
    if not math.isfinite(mean_loss) or share_not_finite > 0:
        raise _not_finite_error(mean_loss, loss.item(), gradients, indices, communicator)

    state.optimizer.step()
    state.bank.update(indices, embeddings.detach(), config.bank_momentum)
    return float(mean_loss)


def _gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    gradients = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                gradients.append(parameter.grad)
    return gradients


def _not_finite_error(
    mean_loss: float,
    local_loss: float,
    gradients: list[Tensor],
    indices: Tensor,
    communicator: Communicator,
) -> NotFiniteError:
    """Name the images; where the loss tells whose they are, those of other processes are not.

    A gradient is that of all processes.
    """
    local_images: list[int] = []
    if not math.isfinite(local_loss) or math.isfinite(mean_loss):
        local_images = indices.tolist()
    names: list[str] = []
    for images_of_rank in communicator.all_gather_object(local_images):
        names += map(str, images_of_rank)
    norm = torch.nn.utils.get_total_norm(gradients).item()
    return NotFiniteError(
        f"loss is {mean_loss}, gradient norm {norm}; the images: {', '.join(names)}"
    )


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
    name = source.data
    if Path(name).is_dir():
        name = Path(name).resolve().name  # no folders: it travels
    data = {"name": name, "count": len(source), "digest": source.digest}
    versions = {
        "npid-zoo": zoo.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
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
        for line in path.read_text().splitlines() if path.exists() else []:
            if line.endswith("}") and json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        write_text(path, "".join(kept))

    def write(self, **values: Any) -> None:
        """Append a line."""
        if self.quiet:
            return
        with open(self.path, "a") as file:
            file.write(json.dumps(values) + "\n")


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
