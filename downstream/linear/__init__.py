"""Linear classifiers on a frozen network (Wu et al. 2018, section 4.2): settings and task.

The solvers and what they share are in :mod:`downstream.linear.probe`, which imports torch.
"""

from downstream.linear.config import PRESETS, LinearConfig
from downstream.linear.task import Linear

__all__ = ["PRESETS", "Linear", "LinearConfig"]
