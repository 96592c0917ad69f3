"""Everything in a run that learns: the backbone, the memory bank, the loss and the optimizer."""

import inspect
from collections.abc import Callable, Mapping
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

Autocast = Callable[[], AbstractContextManager[Any]]
NamedParameters = list[tuple[str, nn.Parameter]]

# The one entry of an optimizer's state that a checkpoint has under the parameter's bare name.
_MOMENTUM = "momentum_buffer"


def new_model(config: PretrainConfig) -> Backbone:
    """Make the backbone of the settings, with random weights."""
    size = config.augment.size
    crop_pct = 0.875 if size > 64 else 1.0
    spec = InputSpec(size=size, crop_pct=crop_pct, mean=config.mean, std=config.std)
    return zoo.create(config.backbone, embed_dim=config.embed_dim, stem=config.stem, input=spec)


def _load_initial_weights(model: Backbone, init: str) -> None:
    """Start from another model's weights.

    Raises:
        SettingsError: Naming what differs, if ``init`` is another network than the settings say.
    """
    given = zoo.load(init)
    pairs = {
        "arch": (model.arch, given.arch),
        "stem": (model.stem, given.stem),
        "embed_dim": (model.embed_dim, given.embed_dim),
        "mean": (model.input.mean, given.input.mean),
        "std": (model.input.std, given.input.std),
    }
    differing = []
    for name, (requested, existing) in pairs.items():
        if requested != existing:
            differing.append(f"{name} is {requested}, {init} has {existing}")
    if differing:
        raise SettingsError(
            f"init={init} is another network: {'; '.join(differing)}; "
            "`npid pretrain --init` sets them"
        )
    load_strictly(model, given.state_dict(), init)


@dataclass
class TrainState:
    """Everything that learns.

    Attributes:
        model: The backbone.
        bank: The memory bank; each process keeps a part of it.
        loss: With its buffers and parameters.
        optimizer: Of the backbone's parameters, and the loss's.
        embed: Images to unit vectors; with many processes the gradients that come back are their
            mean.
    """

    model: Backbone
    bank: MemoryBank
    loss: Loss[Any]
    optimizer: torch.optim.Optimizer
    embed: Callable[[Tensor], Tensor]

    @classmethod
    def create(
        cls,
        config: PretrainConfig,
        batches: Batches,
        num_images: int,
        autocast: Autocast,
        fresh: bool,
        communicator: Communicator = SINGLE_PROCESS,
    ) -> "TrainState":
        """Make the start of a run: random weights from the seed, and the first bank.

        Args:
            config: Of the run.
            batches: Of its images; the device is theirs.
            num_images: N, rows of the bank.
            autocast: The precision of the forward pass.
            fresh: Whether weights and bank must be the first ones; a checkpoint replaces them
                otherwise.
            communicator: The processes that train together.

        Raises:
            SettingsError: If the loss or the initial model does not fit.
        """
        device = batches.device
        torch.manual_seed(config.seed)
        model = new_model(config)
        if fresh and config.init is not None:
            _load_initial_weights(model, config.init)
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.train()
        loss = build(config.loss, num_images, config.embed_dim).to(device)
        bounds = shard_bounds(num_images, communicator.size)
        local_range = (bounds[communicator.rank], bounds[communicator.rank + 1])
        local_bank = _random_bank(config, num_images, local_range, device)
        if fresh and config.bank_init == "features":
            _fill(local_bank, model, batches, config.batch_size, autocast, slice(*local_range))
        bank: MemoryBank = local_bank
        embed: Callable[[Tensor], Tensor] = model.embed
        if communicator.size > 1:
            bank = ShardedBank(local_bank, num_images, communicator)
            if config.sync_bn:
                convert: Callable[[Backbone], Backbone] = nn.SyncBatchNorm.convert_sync_batchnorm
                model = convert(model)
        optimizer = make_optimizer(optimized_parameters(model, loss), config)
        if communicator.size > 1:
            embed = _averaging_gradients(model, config.augment.size, device)
        return cls(model=model, bank=bank, loss=loss, optimizer=optimizer, embed=embed)

    def tensors(self) -> dict[str, Tensor]:
        """Collect what a checkpoint keeps; with many processes, all must call it.

        Returns:
            Tensors by name, each name beginning with its part: ``model``, ``bank``,
            ``objective`` (the loss) or ``optimizer``.
        """
        parts = {
            "model": self.model.state_dict(),
            "bank": self.bank.state_dict(),
            "objective": self.loss.state_dict(),
            "optimizer": self._optimizer_tensors(),
        }
        tensors: dict[str, Tensor] = {}
        for part, tensors_of_part in parts.items():
            for name, tensor in tensors_of_part.items():
                tensors[f"{part}.{name}"] = tensor
        return tensors

    def load(self, run: Path, device: torch.device) -> None:
        """Take over a checkpoint.

        Args:
            run: The run folder.
            device: Of the training.

        Raises:
            ModelError: If the weights do not fit.
            SettingsError: If the bank does not fit.
        """
        file_name = str(run / CHECKPOINT)
        load_strictly(self.model, checkpoint.read_tensors(run, "model"), file_name)
        load_strictly(self.loss, checkpoint.read_tensors(run, "objective"), file_name)
        local_rows = slice(*self.bank.local_range)
        self.bank.load_state_dict(checkpoint.read_tensors(run, "bank", device, local_rows))
        self._load_optimizer(checkpoint.read_tensors(run, "optimizer"))

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        """Name the optimizer's state: ``NAME`` for a momentum, ``NAME/KEY`` for all else."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in optimized_parameters(self.model, self.loss):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if value is None:
                    continue
                if not isinstance(value, Tensor):
                    raise TypeError(f"the optimizer's {key} is no tensor: {type(value).__name__}")
                tensors[name if key == _MOMENTUM else f"{name}/{key}"] = value
        return tensors

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        by_parameter: dict[str, dict[str, Tensor]] = {}
        for full_name, tensor in tensors.items():
            name, slash, key = full_name.partition("/")
            by_parameter.setdefault(name, {})[key if slash else _MOMENTUM] = tensor
        state: dict[int, dict[str, Tensor]] = {}
        for number, (name, parameter) in enumerate(optimized_parameters(self.model, self.loss)):
            if name not in by_parameter:
                continue
            state[number] = {}
            for key, tensor in by_parameter[name].items():
                if tensor.shape == parameter.shape:
                    # in the parameter's memory format, which the fused step takes for granted
                    tensor = torch.empty_like(parameter).detach().copy_(tensor)
                state[number][key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def optimized_parameters(model: Backbone, loss: Loss[Any]) -> NamedParameters:
    """List all parameters in the optimizer's order: first weights, then norms and biases."""
    named = list(model.named_parameters())
    for name, parameter in loss.named_parameters():
        named.append((f"objective.{name}", parameter))
    weights = [item for item in named if item[1].ndim > 1]
    norms_and_biases = [item for item in named if item[1].ndim <= 1]
    return weights + norms_and_biases


def make_optimizer(parameters: NamedParameters, config: PretrainConfig) -> torch.optim.Optimizer:
    """Make the optimizer of the settings.

    Args:
        parameters: As :func:`optimized_parameters` orders them.
        config: Of the run.
    """
    weights: list[nn.Parameter] = []
    norms_and_biases: list[nn.Parameter] = []
    for _, parameter in parameters:
        group = weights if parameter.ndim > 1 else norms_and_biases
        group.append(parameter)
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {
            "params": norms_and_biases,
            "weight_decay": config.weight_decay if config.decay_all else 0.0,
        },
    ]
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=True
    )


def _random_bank(
    config: PretrainConfig, num_images: int, local_range: tuple[int, int], device: torch.device
) -> LocalBank:
    """This process's rows of a bank of random ones, the same for any number of processes."""
    return LocalBank.random(
        num_images,
        config.embed_dim,
        seed=config.seed,
        storage=config.bank_dtype,
        device=str(device),
        local_range=local_range,
    )


@torch.no_grad()
def _fill(
    bank: LocalBank,
    model: Backbone,
    batches: Batches,
    batch_size: int,
    autocast: Autocast,
    span: slice,
) -> None:
    """Put the untrained backbone's features in the bank.

    Rows that know about images learn far faster than noise.

    Args:
        bank: Of the images in ``span`` alone.
        model: In train mode: by batch statistics, for the running ones mean nothing yet.
        batches: Of all images.
        batch_size: Images at a time.
        autocast: The precision of the forward pass.
        span: The images.
    """
    for images, indices in batches.plain(batch_size, span):
        if len(indices) < 2:
            continue
        with autocast():
            embeddings = model.embed(images)
        bank.update(indices - span.start, embeddings, 0.0)


class _Embed(nn.Module):
    """DistributedDataParallel wraps ``forward``; ours is ``embed``."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)


def _averaging_gradients(model: Backbone, size: int, device: torch.device) -> nn.Module:
    """Wrap ``embed`` so that its gradients are averaged over the processes.

    Each process keeps BatchNorm's running statistics of its own images; those of rank 0 are the
    model's.
    """
    # torch 2.14 has another name for the same, and warns of the old one
    names = inspect.signature(DistributedDataParallel).parameters
    option = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    no_sync: dict[str, Any] = {option: False}
    wrapped = DistributedDataParallel(_Embed(model), gradient_as_bucket_view=True, **no_sync)
    # After the first backward pass it sorts its buckets anew, and with them the order of sums;
    # doing that pass here lets a resumed run add up as one that was never stopped. In eval mode
    # nothing but the gradients changes.
    model.eval()
    wrapped(torch.zeros(2, 3, size, size, device=device)).sum().backward()
    model.zero_grad(set_to_none=True)
    model.train()
    return wrapped
