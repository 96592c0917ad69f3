"""What a run will take, before it begins: memory, arithmetic and bytes on the wire, for any number of devices.

Everything is counted from the shapes of what the code does, and checked in the tests against what it really allocates,
multiplies and sends. Times are not predicted: they depend on the machine; ``benchmarks/`` measures them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from pretrain.attention import CHUNK, PIECE, bounded, fuses, heads_for
from pretrain.config import PretrainConfig
from pretrain.losses import LossConfig
from pretrain.losses.nce import NCEConfig
from pretrain.losses.sampling import CHUNK as CHUNK_ROWS
from pretrain.losses.sampling import CHUNK_ELSEWHERE, SampledConfig
from pretrain.memory_bank.local import DTYPES
from pretrain.memory_bank.sharded import ShardedBank
from pretrain.train_state import new_model
from zoo import SettingsError

_REDUCED, _GATHERED, _EXCHANGED = "all-reduce", "all-gather", "all-to-all"


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """What one image costs in the backbone.

    Attributes:
        parameters: in all.
        flops: of a forward pass; a training step takes three times as many.
        activations: bytes kept for the backward pass, in fp32; about half with bf16.
    """

    parameters: int
    flops: int
    activations: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """
    Attributes:
        images: N, rows of the bank.
        devices: W, over which the bank and each batch are dealt out.
        batch: B, of all devices together.
        dim: D.
        bank_dtype, loss: as in the settings.
        backbone: its cost.
        device: ``cpu`` or ``cuda``, whose kernels need room of their own.
    """

    images: int
    devices: int
    batch: int
    dim: int
    bank_dtype: str
    loss: LossConfig
    backbone: Backbone
    device: str = "cpu"

    @property
    def local(self) -> int:
        """Images of a step on one device."""
        return self.batch // self.devices

    @property
    def handed(self) -> int:
        """Bytes of one number of a row as the bank hands it out."""
        return 4 if self.bank_dtype == "float32" else 2


@dataclass(frozen=True)
class Message:
    """A collective of every step: ``size`` is the number of bytes that each device puts into it."""

    what: str
    how: str
    size: int

    def sent(self, devices: int) -> int:
        """Bytes that leave a device, by the ring algorithms; what is for itself stays."""
        others = devices - 1
        if self.how == _GATHERED:
            return self.size * others
        return self.size * others * (2 if self.how == _REDUCED else 1) // devices


def measure(how: PretrainConfig) -> Backbone:
    """The cost of the settings' backbone, by a forward pass on torch's meta device: nothing is computed."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"):
        model = new_model(how).train()
        images = torch.empty(2, 3, how.augment.size, how.augment.size)
        with (
            FlopCounterMode(display=False) as counter,
            saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            out = model.embed(images)
        own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
        activations = sum(size for key, size in kept.items() if key not in own)
        del out
    parameters = sum(p.numel() for p in model.parameters())
    return Backbone(
        parameters=parameters, flops=counter.get_total_flops() // 2, activations=activations // 2
    )


def case(
    how: PretrainConfig,
    images: int,
    devices: int,
    *,
    device: str = "cpu",
    backbone: Backbone | None = None,
) -> Case:
    """The settings at a size.

    Args:
        device: where it will run, without a number.
        backbone: its cost, where it is known already.

    Raises:
        SettingsError: if the batch cannot be dealt out to so many devices.
    """
    batch = min(how.batch_size, images)
    if batch % devices or batch < 2 * devices and devices > 1:
        raise SettingsError(
            f"--devices {devices}: {batch} images of a step are not dealt out evenly, at least 2 to each; "
            f"--set batch_size=… to a multiple of {devices}"
        )
    if how.loss.name == "parametric":
        raise SettingsError(
            "--plan: the objective parametric has no bank to plan for; choose exact, nce or infonce"
        )
    return Case(
        images=images,
        devices=devices,
        batch=batch,
        dim=how.embed_dim,
        bank_dtype=how.bank_dtype,
        loss=how.loss,
        backbone=backbone or measure(how),
        device=device,
    )


def bank_bytes(images: int, dim: int, kind: str) -> int:
    """Of a bank of so many rows: what :class:`pretrain.memory_bank.local.MemoryBank` allocates."""
    return images * (dim * DTYPES[kind].itemsize + (4 if kind == "int8" else 0))


def working_bytes(it: Case) -> int:
    """The most that the objective allocates beside the bank in a step, about: one block of scores or rows, and the
    vectors with their sums and gradients.
    """
    vectors, how = it.batch * (it.dim + 1) * 4, it.loss
    spelt_out = (
        4 if it.bank_dtype == "int8" else 0
    )  # its rows pass through fp32 on their way to bf16
    if isinstance(how, SampledConfig):
        drawn = how.negatives * (
            2 if how.shared else it.batch + it.local
        )  # each device draws for all and keeps its own
        block = CHUNK_ROWS.get(it.device, CHUNK_ELSEWHERE) if it.devices == 1 else ShardedBank.block
        at_once = (
            min(block, how.negatives)
            if how.shared
            else min(max(1, block // how.negatives), it.local) * how.negatives
        )
        scores = 2 * 4 * at_once * (it.local if how.shared else 1)
        if it.devices == 1 and it.device == "cpu" and it.bank_dtype == "float32" and not how.shared:
            return (
                8 * drawn + 3 * 4 * it.local * how.negatives + 4 * vectors
            )  # its rows are not copied
        rows = at_once * it.dim * (it.handed * min(it.devices, 2) + spelt_out)
        return 8 * drawn + rows + scores + 4 * vectors
    rows = math.ceil(it.images / it.devices)
    if fuses(
        it.device,
        torch.float32 if it.handed == 4 else torch.bfloat16,
        bounded(how.temperature, rows),
    ):
        block, scores = min(PIECE, rows), 3 * (heads_for(it.batch, rows, it.device) + 1) * vectors
    else:
        block, scores = min(CHUNK, rows), it.batch * min(CHUNK, rows) * (4 if it.handed == 4 else 6)
    return scores + block * it.dim * (spelt_out and spelt_out + 2) + 4 * vectors


def memory(it: Case) -> dict[str, int]:
    """Bytes on the fullest device, by use; and on the machine of rank 0 while it saves."""
    rows = math.ceil(it.images / it.devices)
    whole = bank_bytes(it.images, it.dim, it.bank_dtype)
    return {
        "bank": bank_bytes(rows, it.dim, it.bank_dtype),
        "weights, gradients, momentum": 3 * 4 * it.backbone.parameters,
        "activations (fp32)": it.local * it.backbone.activations,
        "objective": working_bytes(it),
        "host of rank 0, saving": whole if it.devices > 1 else 0,
    }


def flops(it: Case) -> dict[str, int]:
    """Of one step on one device: the backbone's and the objective's."""
    rows = math.ceil(it.images / it.devices) * it.batch
    if isinstance(it.loss, SampledConfig):
        rows = it.local * it.loss.negatives * _passes(it.loss)
    return {"backbone": 3 * it.local * it.backbone.flops, "objective": 4 * it.dim * rows}


def _passes(loss: LossConfig) -> int:
    return 2 if isinstance(loss, NCEConfig) and loss.z == "ema" else 1  # Z takes another


def _fetch(it: Case, what: str, rows: int, rounds: int = 1) -> list[Message]:
    asked = rounds * 8 * it.devices + 8 * rows
    return [
        Message(f"{what}: asked for", _EXCHANGED, asked),
        Message(what, _EXCHANGED, rows * it.dim * it.handed),
    ]


def messages(it: Case) -> list[Message]:
    """The collectives of one step, in which every device takes part; none with a single device."""
    if it.devices == 1:
        return []
    how = it.loss
    sent = [Message("gradients", _REDUCED, 4 * it.backbone.parameters)]
    sent += _fetch(it, "own rows", it.local * (2 if how.proximal else 1), 2 if how.proximal else 1)
    if not isinstance(how, SampledConfig):
        sent += [
            Message("queries", _GATHERED, it.local * it.dim * it.handed),
            Message("largest scores", _REDUCED, it.batch * 4),
            Message("sums", _REDUCED, it.batch * (it.dim + 1) * 4),
        ]
    else:
        passes = _passes(how)
        some = max(1, ShardedBank.block // how.negatives)
        rounds = math.ceil(how.negatives / ShardedBank.block) * (
            1 if how.shared else math.ceil(it.local / some)
        )
        sent += _fetch(
            it,
            "negatives",
            passes * how.negatives * (1 if how.shared else it.local),
            passes * rounds,
        )
        if passes == 2:
            sent += [Message("Z", _REDUCED, 8)]
    return [
        *sent,
        Message("vectors for the bank", _GATHERED, it.local * (it.dim * 4 + 8)),
        Message("loss, finite or not, signals", _REDUCED, 8 + 16),
    ]


def affordable(it: Case, share: float) -> int:
    """The N at which ``exact`` takes this share of the backbone's arithmetic, whatever the batch and the devices."""
    return int(share * 3 * it.backbone.flops / (4 * it.dim))


def meeting(it: Case) -> int:
    """The N at which a step of ``exact`` reads as many rows of the bank (N) as negatives drawn per image do (B·m)."""
    return it.batch * negatives(it.loss)


def negatives(loss: LossConfig) -> int:
    """How many negatives a sampled loss draws; of another loss, how many one would draw by default."""
    return loss.negatives if isinstance(loss, SampledConfig) else SampledConfig.negatives
