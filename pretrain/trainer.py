"""The training loop."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

import zoo
from pretrain import checkpoint
from pretrain.checkpoint import CHECKPOINT, METRICS, RunProgress
from pretrain.communicator import SINGLE_PROCESS, Communicator
from pretrain.config import PretrainConfig, flatten, from_dict, to_dict
from pretrain.losses import LOSSES
from pretrain.memory_bank import MemoryBank
from pretrain.train_state import Autocast, State, new_model
from zoo import Backbone, RunError, SettingsError
from zoo.data.augment import Augmenter
from zoo.data.loader import epoch_order, open_batches
from zoo.data.sources import Source
from zoo.utils.files import folder_lock, write_text
from zoo.utils.precision import fast_bf16, shrinks_a_pixel
from zoo.utils.signals import Stop, Stopped

SAVE_EVERY = 120.0  # seconds between checkpoints within an epoch

Monitor = Callable[[Backbone, MemoryBank], dict[str, float]]
OnStep = Callable[[dict[str, Any]], None]


class NotFiniteError(RunError):
    """A loss or a gradient that is infinite or no number; nothing was changed by the step."""


def learning_rate(how: PretrainConfig, epoch: float) -> float:
    """The learning rate after ``epoch`` passes over the images, fractions included."""
    if epoch < how.warmup:
        return how.lr * (epoch / how.warmup)
    if how.schedule == "step":
        return how.lr * 0.1 ** sum(epoch >= drop for drop in how.lr_milestones)
    return (
        how.lr
        * 0.5
        * (1 + math.cos(math.pi * (epoch - how.warmup) / max(how.epochs - how.warmup, 1e-9)))
    )


def resolve_amp(how: PretrainConfig, device: torch.device) -> str:
    """``auto`` as what this device multiplies fast: bf16 where it has instructions for it, and gets it right.

    Raises:
        SettingsError: where bf16 is asked for and would be wrong.
    """
    if how.amp == "float32":
        return how.amp
    if device.type == "cpu" and shrinks_a_pixel(lambda: new_model(how), how.augment.size):
        if how.amp == "auto":
            return "float32"
        raise SettingsError(
            f"amp=bfloat16 is not reliable on a CPU for {how.backbone} at augment.size={how.augment.size} (a strided "
            "convolution sees a single pixel); take larger images or amp=float32"
        )
    if how.amp == "bfloat16":
        return how.amp
    return "bfloat16" if fast_bf16(device) else "float32"


def _step(
    state: State,
    images: Tensor,
    index: Tensor,
    how: PretrainConfig,
    seed: int,
    autocast: Autocast,
    communicator: Communicator = SINGLE_PROCESS,
) -> float:
    """One step of everything that learns; returns the mean loss over the images of all processes.

    The device is waited for once, to read the loss and whether the gradient is finite before anything changes.

    Raises:
        RunError: if the loss or a gradient is not finite, in any process; nothing has been changed then.
    """
    # dropout; with the generator below this makes a step a function of its number
    torch.default_generator.manual_seed(seed * communicator.size + communicator.rank)
    if images.is_cuda:
        torch.cuda.manual_seed(seed * communicator.size + communicator.rank)
    generator = torch.Generator().manual_seed(seed)
    with autocast():
        v = state.embed(images)
    losses = state.objective(v, index, state.bank, generator)
    loss = losses.mean()
    state.optimizer.zero_grad(set_to_none=True)
    with communicator.watch_peers():  # with many processes it averages the gradients
        loss.backward()
    gradients = [
        p.grad
        for group in state.optimizer.param_groups
        for p in group["params"]
        if p.grad is not None
    ]
    bad = torch.zeros(1, device=v.device)
    # scales by one: GradScaler's kernel takes a third of the time of a norm
    torch._amp_foreach_non_finite_check_and_unscale_(gradients, bad, torch.ones_like(bad))
    value, wrong = (
        communicator.all_reduce_sum(torch.cat([loss.detach().view(1), bad])) / communicator.size
    ).tolist()
    if not math.isfinite(value) or wrong:
        # a gradient is that of all processes; where the loss tells whose images it was, the others are not named
        mine = index.tolist() if not math.isfinite(loss.item()) or math.isfinite(value) else []
        rows, norm = (
            ", ".join(map(str, sum(communicator.all_gather_object(mine), []))),
            torch.nn.utils.get_total_norm(gradients),
        )
        raise NotFiniteError(f"loss is {value}, gradient norm {norm.item()}; the images: {rows}")
    state.optimizer.step()
    state.bank.update(index, v.detach(), how.bank_momentum)
    return value


def _begin(
    source: Source, how: PretrainConfig, run: Path, resume: bool
) -> tuple[PretrainConfig, RunProgress]:
    """The run's settings and where it stands; checks that a resumed run is the same run."""
    name = (
        Path(source.data).resolve().name if Path(source.data).is_dir() else source.data
    )  # no folders: it travels
    data = {"name": name, "count": len(source), "digest": source.digest}
    versions = {
        "npid-zoo": zoo.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    if not (run / CHECKPOINT).exists():
        return how, RunProgress(settings=to_dict(how), data=data, versions=versions)
    if not resume:
        raise RunError(
            f"{run}: holds a run already; add --resume to go on with it, or choose another --out"
        )
    position = checkpoint.read_progress(run)
    for key, what in (("count", "images"), ("digest", "digest of names and sizes")):
        if position.data[key] != data[key]:
            raise RunError(
                f"{source.data}: the data set has changed since {run} began: {what} was {position.data[key]}, now "
                f"{data[key]}; restore it, or start a new run"
            )
    return from_dict(position.settings), position


def _deal(
    source: Source,
    how: PretrainConfig,
    at: RunProgress,
    run: Path,
    communicator: Communicator,
    place: torch.device,
    move: bool,
) -> int:
    """How many images of a step each process takes.

    Args:
        move: whether a run may go on with another number of processes.

    Raises:
        RunError, SettingsError: if these processes cannot go on with the run, or not with these settings.
    """
    began, now = at.processes, communicator.size
    if at.total and began != now and at.step:
        raise RunError(
            f"{run}: {began} process(es) began epoch {at.epoch + 1}, now {now}; finish it with {began}"
        )
    if at.total and began != now and not move:
        raise RunError(
            f"{run}: trained by {began} process(es), now {now}; add --change-processes to go on with {now}"
        )
    batch = min(how.batch_size, len(source))
    if now == 1:
        return batch
    faults = {
        f"batch_size: {batch} images are not dealt out evenly to {now} processes, at least 2 to each; "
        f"set a multiple of {now}": batch % now or batch < 2 * now,
        f"loss {how.loss.name} needs all rows in one process; choose exact, say": not LOSSES[
            how.loss.name
        ].supports_distributed,
        "sync_bn: torch synchronises BatchNorm on GPUs only": how.sync_bn and place.type != "cuda",
        "--skip-bad: with many processes each must take as many images; remove the bad ones first": source.skip_bad,
    }
    if found := [message for message, wrong in faults.items() if wrong]:
        raise SettingsError("; ".join(found))
    return batch // now


def _same(asked: PretrainConfig, kept: PretrainConfig, run: Path) -> None:
    """
    Raises:
        SettingsError: listing the settings that differ from those the run began with.
    """
    old, new = dict(flatten(to_dict(kept))), dict(flatten(to_dict(asked)))
    if differing := [
        f"{key} is {old[key]}, asked for {new[key]}"
        for key in old
        if key in new and old[key] != new[key]
    ]:
        raise SettingsError(f"{run}: a run keeps its settings; {'; '.join(differing)}")


class _Log:
    """Metrics as JSON lines; lines past the checkpoint are dropped when a run resumes from it."""

    def __init__(self, path: Path, total: int, quiet: bool) -> None:
        self.path, self.quiet = path, quiet
        if quiet:
            return
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= total]
        write_text(path, "".join(line + "\n" for line in kept))

    def __call__(self, **values: Any) -> None:
        if self.quiet:
            return
        with open(self.path, "a") as file:
            file.write(json.dumps(values) + "\n")


def pretrain(
    source: Source,
    out: str | Path,
    settings: PretrainConfig,
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
        source: the images; their indices are the classes.
        out: the run folder: ``checkpoint.safetensors`` and ``metrics.jsonl``.
        settings: of the run.
        resume: go on with the run in ``out``, bit for bit as if it had never stopped (on a CPU); starts it where
            there is none yet.
        device: where to train.
        workers: processes that decode images; 0 for this one.
        monitor: (model in eval mode, bank) → scores, called every ``knn_every`` epochs, before the first and after
            the last.
        on_step: gets step, epoch, loss and lr after each step.
        same_settings: whether ``settings`` must be those of the run that is resumed; otherwise that run's are used.
        communicator: the processes that train together. They see the batches that one
            would; rank 0 alone writes, and all must be able to read ``out``.
        change_processes: whether a run may be resumed by another number of them, between epochs.

    Returns:
        The run folder.

    Raises:
        SettingsError, DataError, RunError: with nothing changed, or the last checkpoint whole.
        Stopped: after SIGTERM or Ctrl-C; the run is saved.
    """
    run, place = Path(out), torch.device(device)
    with (
        contextlib.ExitStack() as held,
        Stop().on_signals(last_words=communicator.size > 1) as stop,
    ):

        def begin() -> tuple[PretrainConfig, RunProgress, int]:
            settings.check()
            asked = replace(settings, amp=resolve_amp(settings, place))
            if communicator.rank == 0:
                held.enter_context(folder_lock(run))
            how, at = _begin(source, asked, run, resume)
            if same_settings:
                _same(asked, how, run)
            return how, at, _deal(source, how, at, run, communicator, place, change_processes)

        how, at, local = communicator.rank_zero_first(begin)
        communicator.assert_same(
            f"the run in {run} and the images of {source.data}", (at.total, at.data["digest"], how)
        )
        at.processes = communicator.size
        batches = open_batches(
            source, Augmenter(how.augment, how.mean, how.std, how.seed), place, workers
        )

        def autocast() -> torch.autocast:
            return torch.autocast(place.type, torch.bfloat16, enabled=how.amp == "bfloat16")

        fresh = at.total == 0
        state = State.create(how, batches, len(source), autocast, fresh, communicator)
        if not fresh:
            state.load(run, place)
        log = _Log(run / METRICS, -1 if fresh else at.total, quiet=communicator.rank > 0)

        def score() -> None:
            if monitor is not None and how.eval_every:
                communicator.broadcast(list(state.model.buffers()))
                found = monitor(state.model.eval(), state.bank)
                state.model.train()
                log(
                    event="knn",
                    step=at.total,
                    epoch=at.epoch,
                    seconds=round(at.seconds, 2),
                    **found,
                )

        def save() -> None:
            tensors = state.tensors()
            communicator.rank_zero_first(
                lambda: checkpoint.save(run, tensors, at) if communicator.rank == 0 else None
            )

        if fresh:
            score()
        per_epoch = len(source) // (local * communicator.size)
        saved = time.monotonic()
        for epoch in range(at.epoch, how.epochs):
            steps = epoch_order(how.seed, epoch, len(source), local * communicator.size)[at.step :]
            mine = steps.view(len(steps), communicator.size, local)[:, communicator.rank]
            began = time.monotonic()
            for images, index in batches.augmented(epoch, mine):
                lr = learning_rate(how, epoch + at.step / per_epoch)
                for group in state.optimizer.param_groups:
                    group["lr"] = lr
                if len(index) < 2:  # all others were bad and skipped
                    at.step += 1
                    continue
                try:
                    loss = _step(
                        state,
                        images,
                        index,
                        how,
                        how.seed * 1_000_003 + at.total,
                        autocast,
                        communicator,
                    )
                except NotFiniteError as error:
                    where = f"{run}: stopped at step {at.total} of epoch {epoch}"
                    raise communicator.peer_error(RunError(f"{where}: {error}")) from error
                now, count = time.monotonic(), len(index) * communicator.size
                at.seconds, began = at.seconds + now - began, now
                at.step, at.total = at.step + 1, at.total + 1
                at.loss_sum, at.loss_count = at.loss_sum + loss * count, at.loss_count + count
                if on_step is not None:
                    on_step(
                        {"step": at.total, "epoch": epoch, "loss": loss, "lr": lr, "images": count}
                    )
                signal, due = communicator.all_reduce_max_numbers(
                    stop.signal or 0, now - saved > SAVE_EVERY
                )
                if signal or due:
                    save()
                    saved = time.monotonic()
                    if signal:
                        raise Stopped(signal, run)
                    began = time.monotonic()
            mean = at.loss_sum / max(at.loss_count, 1)
            lr = learning_rate(how, epoch + 1)
            log(
                event="epoch",
                step=at.total,
                epoch=epoch + 1,
                loss=mean,
                lr=lr,
                seconds=round(at.seconds, 2),
            )
            at.epoch, at.step, at.loss_sum, at.loss_count = epoch + 1, 0, 0.0, 0
            if how.eval_every and ((epoch + 1) % how.eval_every == 0 or epoch + 1 == how.epochs):
                score()
            save()
            saved = time.monotonic()
    return run
