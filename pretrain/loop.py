"""The training loop."""

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
from pretrain.bank import MemoryBank
from pretrain.checkpoint import CHECKPOINT, METRICS, Position
from pretrain.objectives import proximal
from pretrain.settings import Settings, flat, from_dict, to_dict
from pretrain.state import Autocast, State, new_model
from zoo import Backbone, RunError, SettingsError
from zoo.augment import Augmenter
from zoo.batches import open_batches, order
from zoo.files import locked, write_text
from zoo.precision import fast_bf16, shrinks_a_pixel
from zoo.sources import Source
from zoo.stopping import Stop, Stopped

SAVE_EVERY = 120.0  # seconds between checkpoints within an epoch

Monitor = Callable[[Backbone, MemoryBank], dict[str, float]]
OnStep = Callable[[dict[str, Any]], None]


def learning_rate(how: Settings, epoch: float) -> float:
    """The learning rate after ``epoch`` passes over the images, fractions included."""
    if epoch < how.warmup:
        return how.lr * (epoch / how.warmup)
    if how.schedule == "step":
        return how.lr * 0.1 ** sum(epoch >= drop for drop in how.drops)
    return how.lr * 0.5 * (1 + math.cos(math.pi * (epoch - how.warmup) / max(how.epochs - how.warmup, 1e-9)))


def resolve_amp(how: Settings, device: torch.device) -> str:
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


def _step(state: State, images: Tensor, index: Tensor, how: Settings, seed: int, autocast: Autocast) -> float:
    """One step of everything that learns; returns the mean loss.

    Raises:
        RunError: if the loss or a gradient is not finite; nothing has been changed then.
    """
    # dropout; with the generator below this makes a step a function of its number
    torch.default_generator.manual_seed(seed)
    if images.is_cuda:
        torch.cuda.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    with autocast():
        v = state.model.embed(images)
    losses = state.objective(v, index, state.bank, generator)
    if how.objective.proximal:
        losses = losses + how.objective.proximal * proximal(v, state.bank.read(index))
    loss = losses.mean()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    value = loss.item()
    norm = torch.nn.utils.get_total_norm(
        [p.grad for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    )
    if not (math.isfinite(value) and torch.isfinite(norm)):
        rows = ", ".join(map(str, index.tolist()))
        raise RunError(f"loss is {value}, gradient norm {norm.item()}; the images: {rows}")
    state.optimizer.step()
    state.bank.update(index, v.detach(), how.bank_momentum)
    return value


def _begin(source: Source, how: Settings, run: Path, resume: bool) -> tuple[Settings, Position]:
    """The run's settings and where it stands; checks that a resumed run is the same run."""
    name = Path(source.data).resolve().name if Path(source.data).is_dir() else source.data  # no folders: it travels
    data = {"name": name, "count": len(source), "digest": source.digest}
    versions = {"npid-zoo": zoo.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    if not (run / CHECKPOINT).exists():
        return how, Position(settings=to_dict(how), data=data, versions=versions)
    if not resume:
        raise RunError(f"{run}: holds a run already; add --resume to go on with it, or choose another --out")
    position = checkpoint.read_position(run)
    for key, what in (("count", "images"), ("digest", "digest of names and sizes")):
        if position.data[key] != data[key]:
            raise RunError(
                f"{source.data}: the data set has changed since {run} began: {what} was {position.data[key]}, now "
                f"{data[key]}; restore it, or start a new run"
            )
    return from_dict(position.settings), position


def _same(asked: Settings, kept: Settings, run: Path) -> None:
    """
    Raises:
        SettingsError: listing the settings that differ from those the run began with.
    """

    old, new = dict(flat(to_dict(kept))), dict(flat(to_dict(asked)))
    if differing := [f"{key} is {old[key]}, asked for {new[key]}" for key in old if old[key] != new[key]]:
        raise SettingsError(f"{run}: a run keeps its settings; {'; '.join(differing)}")


class _Log:
    """Metrics as JSON lines; lines past the checkpoint are dropped when a run resumes from it."""

    def __init__(self, path: Path, total: int) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= total]
        write_text(path, "".join(line + "\n" for line in kept))

    def __call__(self, **values: Any) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(values) + "\n")


def pretrain(
    source: Source,
    out: str | Path,
    settings: Settings,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 0,
    monitor: Monitor | None = None,
    on_step: OnStep | None = None,
    same_settings: bool = True,
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

    Returns:
        The run folder.

    Raises:
        SettingsError, DataError, RunError: with nothing changed, or the last checkpoint whole.
        Stopped: after SIGTERM or Ctrl-C; the run is saved.
    """
    run, place = Path(out), torch.device(device)
    settings.check()
    settings = replace(settings, amp=resolve_amp(settings, place))
    with locked(run), Stop().on_signals() as stop:
        how, at = _begin(source, settings, run, resume)
        if same_settings:
            _same(settings, how, run)
        batch = min(how.batch, len(source))
        batches = open_batches(source, Augmenter(how.augment, how.mean, how.std, how.seed), place, workers)

        def autocast() -> torch.autocast:
            return torch.autocast(place.type, torch.bfloat16, enabled=how.amp == "bfloat16")

        fresh = at.total == 0
        state = State.create(how, batches, len(source), autocast, fresh)
        if not fresh:
            state.load(run, place)
        log = _Log(run / METRICS, -1 if fresh else at.total)

        def score() -> None:
            if monitor is not None and how.knn_every:
                found = monitor(state.model.eval(), state.bank)
                state.model.train()
                log(event="knn", step=at.total, epoch=at.epoch, seconds=round(at.seconds, 2), **found)

        if fresh:
            score()
        per_epoch = len(source) // batch
        saved = time.monotonic()
        for epoch in range(at.epoch, how.epochs):
            steps = order(how.seed, epoch, len(source), batch)[at.step :]
            began = time.monotonic()
            for images, index in batches.batches(epoch, steps):
                lr = learning_rate(how, epoch + at.step / per_epoch)
                for group in state.optimizer.param_groups:
                    group["lr"] = lr
                if len(index) < 2:  # all others were bad and skipped
                    at.step += 1
                    continue
                try:
                    loss = _step(state, images, index, how, how.seed * 1_000_003 + at.total, autocast)
                except RunError as error:
                    raise RunError(f"{run}: stopped at step {at.total} of epoch {epoch}: {error}") from error
                now = time.monotonic()
                at.seconds, began = at.seconds + now - began, now
                at.step, at.total = at.step + 1, at.total + 1
                at.loss_sum, at.loss_count = at.loss_sum + loss * len(index), at.loss_count + len(index)
                if on_step is not None:
                    on_step({"step": at.total, "epoch": epoch, "loss": loss, "lr": lr, "images": len(index)})
                if stop.signal is not None or now - saved > SAVE_EVERY:
                    checkpoint.save(run, state.tensors(), at)
                    saved = time.monotonic()
                    if stop.signal is not None:
                        raise Stopped(stop.signal, run)
                    began = time.monotonic()
            mean = at.loss_sum / max(at.loss_count, 1)
            lr = learning_rate(how, epoch + 1)
            log(event="epoch", step=at.total, epoch=epoch + 1, loss=mean, lr=lr, seconds=round(at.seconds, 2))
            at.epoch, at.step, at.loss_sum, at.loss_count = epoch + 1, 0, 0.0, 0
            if how.knn_every and ((epoch + 1) % how.knn_every == 0 or epoch + 1 == how.epochs):
                score()
            checkpoint.save(run, state.tensors(), at)
            saved = time.monotonic()
    return run
