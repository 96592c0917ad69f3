"""How a backbone is made: data with indices, the memory bank, objectives, the training loop.

pretrain.pretrain(open_source("photos/"), "runs/photos", PRESETS["cifar10-cpu"])
pretrain.export("runs/photos", "models/photos")
"""

from pretrain.export import export, load_run
from pretrain.loop import pretrain
from pretrain.presets import PRESETS
from pretrain.settings import Settings, override
from zoo.stopping import Stopped

__all__ = ["PRESETS", "Settings", "Stopped", "export", "load_run", "override", "pretrain"]
