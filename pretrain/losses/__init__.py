"""What is minimised: one file per loss, one registration per loss."""

from pretrain.losses import (  # noqa: F401  registers them
    exact,
    infonce,
    nce,
    parametric,
    triplet,
)
from pretrain.losses.base import (
    LOSSES,
    Loss,
    LossConfig,
    LossCost,
    build,
    change_loss,
    current_name,
    distributed_faults,
    loss_config_from_dict,
    loss_config_to_dict,
    loss_cost,
    proximal,
    setting_names,
)

__all__ = [
    "LOSSES",
    "Loss",
    "LossConfig",
    "LossCost",
    "build",
    "change_loss",
    "current_name",
    "distributed_faults",
    "loss_config_from_dict",
    "loss_config_to_dict",
    "loss_cost",
    "proximal",
    "setting_names",
]
