"""Faster R-CNN on the zoo's backbones, through detectron2 and its configs.

Those who use detectron2 directly add two lines to their ``train_net.py``::

    from downstream.detection import add_npid_config
    add_npid_config(cfg)  # after get_cfg(), before any merge

The shipped configs then load, and ``MODEL.WEIGHTS`` may name a zoo model directory or a Hub
repository.
"""

from downstream.detection.config import DetectConfig
from downstream.detection.detectron2_config import (
    CONFIGS,
    adopt,
    config_file,
    require_detectron2,
    shipped_configs,
)
from downstream.detection.registration import add_npid_config
from downstream.detection.task import Detect

__all__ = [
    "CONFIGS",
    "Detect",
    "DetectConfig",
    "add_npid_config",
    "adopt",
    "config_file",
    "require_detectron2",
    "shipped_configs",
]
