"""How a backbone is made: data with indices, the memory bank, objectives, the training loop.

pretrain.pretrain(open_source("photos/"), "runs/photos", PRESETS["cifar10-cpu"])
pretrain.export("runs/photos", "models/photos")
"""

from pretrain.config import PretrainConfig, override
from pretrain.export import export, load_run
from pretrain.presets import PRESETS
from pretrain.trainer import pretrain
from zoo.utils.signals import Stopped

__all__ = ["PRESETS", "PretrainConfig", "Stopped", "export", "load_run", "override", "pretrain"]
