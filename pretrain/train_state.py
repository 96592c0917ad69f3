"""Everything in a run that learns."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import zoo
from pretrain import checkpoint
from pretrain.checkpoint import CHECKPOINT
from pretrain.communicator import SINGLE_PROCESS, Communicator
from pretrain.config import PretrainConfig
from pretrain.losses import Loss, build
from pretrain.memory_bank import LocalBank, MemoryBank, ShardedBank, shard_bounds
from zoo import Backbone, InputSpec, SettingsError
from zoo.data.loader import Batches
from zoo.models.model_dir import load_strictly

Autocast = Callable[[], AbstractContextManager]


def new_model(how: PretrainConfig) -> Backbone:
    """The backbone of the settings, with random weights."""
    size = how.augment.size
    spec = InputSpec(size=size, crop_pct=0.875 if size > 64 else 1.0, mean=how.mean, std=how.std)
    return zoo.create(how.backbone, embed_dim=how.embed_dim, stem=how.stem, input=spec)


def _start_from(model: Backbone, init: str) -> None:
    """
    Raises:
        SettingsError: naming what differs, if the settings ask for another network than that of ``init``.
    """
    given = zoo.load(init)
    pairs = {
        name: (getattr(model, name), getattr(given, name)) for name in ("arch", "stem", "embed_dim")
    }
    pairs |= {
        name: (getattr(model.input, name), getattr(given.input, name)) for name in ("mean", "std")
    }
    if differing := [
        f"{name} is {mine}, {init} has {its}" for name, (mine, its) in pairs.items() if mine != its
    ]:
        raise SettingsError(
            f"init={init} is another network: {'; '.join(differing)}; `npid pretrain --init` sets them"
        )
    load_strictly(model, given.state_dict(), init)


@dataclass
class State:
    """Everything that learns.

    Attributes:
        embed: images → unit vectors; with many processes the gradients that come back are their mean.
    """

    model: Backbone
    bank: MemoryBank
    objective: Loss
    optimizer: torch.optim.SGD
    embed: Callable[[Tensor], Tensor]

    @classmethod
    def create(
        cls,
        how: PretrainConfig,
        batches: Batches,
        size: int,
        autocast: Autocast,
        fresh: bool,
        communicator: Communicator = SINGLE_PROCESS,
    ) -> "State":
        """The start of a run: random weights from the seed, and the first bank.

        Args:
            size: N, images.
            fresh: whether the bank must be the first one; a checkpoint replaces it otherwise.
            communicator: the processes that train together; each keeps a part of the bank.
        """
        device = batches.device
        torch.manual_seed(how.seed)
        model = new_model(how)
        if fresh and how.init is not None:
            _start_from(model, how.init)
        model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        objective = build(how.loss, size, how.embed_dim).to(device)
        first, end = shard_bounds(size, communicator.size)[
            communicator.rank : communicator.rank + 2
        ]
        own = LocalBank.random(
            size,
            how.embed_dim,
            seed=how.seed,
            storage=how.bank_dtype,
            device=str(device),
            local_range=(first, end),
        )
        if fresh and how.bank_init == "features":
            _fill(own, model, batches, how.batch_size, autocast, slice(first, end))
        bank = own if communicator.size == 1 else ShardedBank(own, size, communicator)
        if how.sync_bn and communicator.size > 1:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        optimizer = _optimizer(model, objective, how)
        embed = (
            model.embed if communicator.size == 1 else _averaged(model, how.augment.size, device)
        )
        return cls(model, bank, objective, optimizer, embed)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by part."""
        names = [name for name, _ in _parameters(self.model, self.objective)]
        kept = self.optimizer.state_dict()["state"]
        momenta = {
            names[i]: s["momentum_buffer"]
            for i, s in kept.items()
            if s.get("momentum_buffer") is not None
        }
        parts = {
            "model": self.model.state_dict(),
            "bank": self.bank.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": momenta,
        }
        return {
            f"{part}.{name}": t for part, tensors in parts.items() for name, t in tensors.items()
        }

    def load(self, run: Path, device: torch.device) -> None:
        """Take over a checkpoint.

        Raises:
            ModelError, SettingsError: if it does not fit.
        """
        load_strictly(self.model, checkpoint.read_tensors(run, "model"), str(run / CHECKPOINT))
        load_strictly(
            self.objective, checkpoint.read_tensors(run, "objective"), str(run / CHECKPOINT)
        )
        bank = self.bank
        rows = slice(*bank.local_range)
        bank.load_state_dict(checkpoint.read_tensors(run, "bank", device, rows))
        momenta = checkpoint.read_tensors(run, "optimizer", device)
        for name, parameter in _parameters(self.model, self.objective):
            if name in momenta:
                # in the parameter's memory format, which the fused step takes for granted
                momentum = torch.empty_like(parameter).copy_(momenta[name])
                self.optimizer.state[parameter]["momentum_buffer"] = momentum.detach()


def _parameters(model: Backbone, objective: Loss) -> list[tuple[str, torch.nn.Parameter]]:
    """All parameters in the optimizer's order: those that decay (weights), then those that do not (norms, biases)."""
    named = [
        *model.named_parameters(),
        *((f"objective.{n}", p) for n, p in objective.named_parameters()),
    ]
    return sorted(named, key=lambda item: item[1].ndim <= 1)


def _optimizer(model: Backbone, objective: Loss, how: PretrainConfig) -> torch.optim.SGD:
    parameters = [p for _, p in _parameters(model, objective)]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": how.weight_decay},
        {
            "params": [p for p in parameters if p.ndim <= 1],
            "weight_decay": how.weight_decay if how.decay_all else 0.0,
        },
    ]
    return torch.optim.SGD(
        groups, lr=how.lr, momentum=how.momentum, nesterov=how.nesterov, fused=True
    )


@torch.no_grad()
def _fill(
    bank: LocalBank, model: Backbone, batches: Batches, batch: int, autocast: Autocast, span: slice
) -> None:
    """Put the untrained backbone's features in the bank: rows that know about images learn far faster than noise.

    Args:
        bank: of the images in ``span`` alone.
    """
    for images, index in batches.plain(batch, span):
        if len(index) > 1:  # by batch statistics: the running ones mean nothing yet
            with autocast():
                v = model.embed(images)
            bank.update(index - span.start, v, 0.0)


class _Embed(nn.Module):
    """DistributedDataParallel wraps ``forward``; ours is ``embed``."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)


def _averaged(model: Backbone, size: int, device: torch.device) -> nn.Module:
    """``embed`` whose gradients are averaged over the processes. Each keeps BatchNorm's running statistics of its own
    images; those of rank 0 are the model's.
    """
    # torch 2.14 has another name for the same, and warns of the old one
    names = inspect.signature(DistributedDataParallel).parameters
    still: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False
    }
    wrapped = DistributedDataParallel(_Embed(model), gradient_as_bucket_view=True, **still)
    # after the first backward pass it sorts its buckets anew, and with them the order of sums; doing that pass here
    # lets a resumed run add up as one that was never stopped. In eval mode nothing but the gradients changes.
    model.eval()
    wrapped(torch.zeros(2, 3, size, size, device=device)).sum().backward()
    model.zero_grad(set_to_none=True)
    model.train()
    return wrapped
