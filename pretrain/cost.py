"""What a run will take, before it begins: memory, arithmetic and bytes sent, on any devices.

Everything is counted from the shapes of what the code does, beside the code that does it: each loss
counts its own. The tests check the counts against what is really allocated, multiplied and sent.
Times are not predicted: they depend on the machine; ``benchmarks/`` measures them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from pretrain.config import PretrainConfig
from pretrain.losses import LossCost, loss_cost
from pretrain.memory_bank.local import storage_bytes
from pretrain.memory_bank.sharded import update_messages
from pretrain.train_state import new_model
from pretrain.workload import ALL_REDUCE, Message, Workload
from zoo import SettingsError

_MEASURED_BATCH = 2


@dataclass(frozen=True, kw_only=True)
class BackboneCost:
    """What one image costs in the backbone.

    Attributes:
        num_parameters: in all.
        flops: of a forward pass; a training step takes three times as many.
        activation_bytes: kept for the backward pass, in fp32; about half with bf16.
    """

    num_parameters: int
    flops: int
    activation_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run takes.

    Attributes:
        workload: the sizes of a step.
        backbone: what an image costs in the backbone.
        loss: what a step costs in the loss.
    """

    workload: Workload
    backbone: BackboneCost
    loss: LossCost

    def memory(self) -> dict[str, int]:
        """Count the bytes on the fullest device, by use.

        The last are those on the machine of rank 0 while it saves.
        """
        workload = self.workload
        size = (workload.embed_dim, workload.bank_dtype)
        num_parameters = self.backbone.num_parameters + self.loss.num_parameters
        whole_bank = storage_bytes(workload.num_rows, *size)
        return {
            "bank": storage_bytes(workload.local_num_rows, *size),
            "weights, gradients, momentum": 3 * 4 * num_parameters,
            "activations (fp32)": workload.local_batch_size * self.backbone.activation_bytes,
            "loss": self.loss.peak_bytes,
            "host of rank 0, saving": whole_bank if workload.num_devices > 1 else 0,
        }

    def flops(self) -> dict[str, int]:
        """Count the arithmetic of one step on one device: the backbone's and the loss's."""
        backbone = 3 * self.workload.local_batch_size * self.backbone.flops
        return {"backbone": backbone, "loss": self.loss.flops}

    def messages(self) -> list[Message]:
        """List the collectives of one step; there are none with a single device."""
        if self.workload.num_devices == 1:
            return []
        gradient_bytes = 4 * (self.backbone.num_parameters + self.loss.num_parameters)
        return [
            Message("gradients", ALL_REDUCE, gradient_bytes),
            *self.loss.messages,
            *update_messages(self.workload),
            Message("loss, finite or not, signals", ALL_REDUCE, 8 + 16),
        ]

    def num_images_at_share(self, share: float) -> int:
        """Find where the exact softmax takes this share of the backbone's arithmetic.

        Returns:
            N, whatever the batch and the devices.
        """
        return int(share * 3 * self.backbone.flops / (4 * self.workload.embed_dim))

    def num_images_of_equal_reads(self, num_negatives: int) -> int:
        """Find where the exact softmax reads as many rows as negatives drawn per image do.

        Args:
            num_negatives: m, for each image.

        Returns:
            N = B·m: a step of the exact softmax reads N rows of the bank.
        """
        return self.workload.batch_size * num_negatives


def measure_backbone(config: PretrainConfig) -> BackboneCost:
    """Count what the backbone costs by a pass on torch's meta device: nothing is computed."""
    saved_bytes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved_bytes[storage._cdata] = storage.nbytes()
        return tensor

    def keep(tensor: Tensor) -> Tensor:
        return tensor

    size = config.augment.size
    with torch.device("meta"):
        model = new_model(config).train()
        images = torch.empty(_MEASURED_BATCH, 3, size, size)
        with FlopCounterMode(display=False) as counter, saved_tensors_hooks(note, keep):
            embeddings = model.embed(images)
    for tensor in [*model.parameters(), *model.buffers()]:
        saved_bytes.pop(tensor.untyped_storage()._cdata, None)
    del embeddings
    return BackboneCost(
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=counter.get_total_flops() // _MEASURED_BATCH,
        activation_bytes=sum(saved_bytes.values()) // _MEASURED_BATCH,
    )


def make_plan(
    config: PretrainConfig,
    num_images: int,
    num_devices: int,
    *,
    device: str = "cpu",
    backbone: BackboneCost | None = None,
) -> Plan:
    """Count what a run takes.

    Args:
        config: the settings of the run.
        num_images: N.
        num_devices: how many train together.
        device: where it will run, without a number.
        backbone: its cost, where it has been measured already.

    Raises:
        SettingsError: if the batch or the loss cannot be divided over so many devices.
    """
    batch_size = min(config.batch_size, num_images)
    too_few_each = num_devices > 1 and batch_size < 2 * num_devices
    if batch_size % num_devices or too_few_each:
        raise SettingsError(
            f"--devices {num_devices}: {batch_size} images of a step are not dealt out evenly, at "
            f"least 2 to each; --set batch_size=… to a multiple of {num_devices}"
        )
    workload = Workload(
        num_rows=num_images,
        num_devices=num_devices,
        batch_size=batch_size,
        embed_dim=config.embed_dim,
        bank_dtype=config.bank_dtype,
        device=device,
    )
    loss = loss_cost(config.loss, workload)
    return Plan(workload=workload, backbone=backbone or measure_backbone(config), loss=loss)
