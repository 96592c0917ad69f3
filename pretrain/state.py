"""Everything in a run that learns."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import zoo
from pretrain import checkpoint
from pretrain.bank import MemoryBank
from pretrain.checkpoint import CHECKPOINT
from pretrain.objectives import Objective, build
from pretrain.settings import Settings
from zoo import Backbone, InputSpec, SettingsError
from zoo.batches import Batches

Autocast = Callable[[], AbstractContextManager]


def new_model(how: Settings) -> Backbone:
    """The backbone of the settings, with random weights."""
    size = how.augment.size
    spec = InputSpec(size=size, crop_pct=0.875 if size > 64 else 1.0, mean=how.mean, std=how.std)
    return zoo.create(how.backbone, dim=how.dim, stem=how.stem, input=spec)


def _start_from(model: Backbone, init: str) -> None:
    """
    Raises:
        SettingsError: naming what differs, if the settings ask for another network than that of ``init``.
    """
    given = zoo.load(init)
    differing = [
        f"{name} is {getattr(model, name)}, {init} has {getattr(given, name)}"
        for name in ("arch", "stem", "dim", "input")
        if getattr(model, name) != getattr(given, name)
    ]
    if differing:
        raise SettingsError(f"init={init} is another network: {'; '.join(differing)}; `npid pretrain --init` sets them")
    zoo.weights.apply(model, given.state_dict(), init)


@dataclass
class State:
    """Everything that learns."""

    model: Backbone
    bank: MemoryBank
    objective: Objective
    optimizer: torch.optim.SGD

    @classmethod
    def create(cls, how: Settings, batches: Batches, size: int, autocast: Autocast, fresh: bool) -> "State":
        """The start of a run: random weights from the seed, and the first bank.

        Args:
            size: N, images.
            fresh: whether the bank must be the first one; a checkpoint replaces it otherwise.
        """
        device = batches.device
        torch.manual_seed(how.seed)
        model = new_model(how)
        if fresh and how.init is not None:
            _start_from(model, how.init)
        model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        objective = build(how.objective, size, how.dim).to(device)
        bank = MemoryBank.random(size, how.dim, seed=how.seed, kind=how.bank_dtype, device=str(device))
        if fresh and how.bank_init == "features":
            _fill(bank, model, batches, how.batch, autocast)
        return cls(model, bank, objective, _optimizer(model, objective, how))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by part."""
        names = [name for name, _ in _parameters(self.model, self.objective)]
        kept = self.optimizer.state_dict()["state"]
        momenta = {names[i]: s["momentum_buffer"] for i, s in kept.items() if s.get("momentum_buffer") is not None}
        parts = {
            "model": self.model.state_dict(),
            "bank": self.bank.state(),
            "objective": self.objective.state_dict(),
            "optimizer": momenta,
        }
        return {f"{part}.{name}": t for part, tensors in parts.items() for name, t in tensors.items()}

    def load(self, run: Path, device: torch.device) -> None:
        """Take over a checkpoint.

        Raises:
            ModelError, SettingsError: if it does not fit.
        """
        zoo.weights.apply(self.model, checkpoint.read_tensors(run, "model"), str(run / CHECKPOINT))
        zoo.weights.apply(self.objective, checkpoint.read_tensors(run, "objective"), str(run / CHECKPOINT))
        self.bank.load(checkpoint.read_tensors(run, "bank", device))
        momenta = checkpoint.read_tensors(run, "optimizer", device)
        for name, parameter in _parameters(self.model, self.objective):
            if name in momenta:
                # in the parameter's memory format, which the fused step takes for granted
                momentum = torch.empty_like(parameter).copy_(momenta[name])
                self.optimizer.state[parameter]["momentum_buffer"] = momentum.detach()


def _parameters(model: Backbone, objective: Objective) -> list[tuple[str, torch.nn.Parameter]]:
    """All parameters in the optimizer's order: those that decay (weights), then those that do not (norms, biases)."""
    named = [*model.named_parameters(), *((f"objective.{n}", p) for n, p in objective.named_parameters())]
    return sorted(named, key=lambda item: item[1].ndim <= 1)


def _optimizer(model: Backbone, objective: Objective, how: Settings) -> torch.optim.SGD:
    parameters = [p for _, p in _parameters(model, objective)]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": how.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": how.weight_decay if how.decay_all else 0.0},
    ]
    return torch.optim.SGD(groups, lr=how.lr, momentum=how.momentum, nesterov=how.nesterov, fused=True)


@torch.no_grad()
def _fill(bank: MemoryBank, model: Backbone, batches: Batches, batch: int, autocast: Autocast) -> None:
    """Put the untrained backbone's features in the bank: rows that know about images learn far faster than noise."""
    for images, index in batches.plain(batch):
        if len(index) > 1:  # by batch statistics: the running ones mean nothing yet
            with autocast():
                v = model.embed(images)
            bank.update(index, v, 0.0)
