"""How a backbone is made: images with indices, the memory bank, losses, the training loop.

Example:
    >>> from pretrain import PRESETS, export, pretrain
    >>> from zoo.data.sources import open_source
    >>> config = PRESETS["cifar10-cpu"]
    >>> run = pretrain(open_source("photos/"), "runs/photos", config)  # doctest: +SKIP
    >>> export(run, "models/photos")  # doctest: +SKIP
"""

from pretrain.config import PretrainConfig, override, with_changes
from pretrain.export import export, load_run
from pretrain.presets import PRESETS
from pretrain.trainer import pretrain
from zoo.utils.signals import Stopped

__all__ = [
    "PRESETS",
    "PretrainConfig",
    "Stopped",
    "export",
    "load_run",
    "override",
    "pretrain",
    "with_changes",
]
