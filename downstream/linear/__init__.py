"""Linear classifiers on a frozen network (Wu et al. 2018, section 4.2): settings and presets, solvers, the task."""

from downstream.linear import lbfgs, sgd, svm  # noqa: F401  registers them
from downstream.linear.config import PRESETS, Settings
from downstream.linear.probe_context import SOLVERS
from downstream.linear.task import images_to_see, run

__all__ = ["PRESETS", "SOLVERS", "Settings", "images_to_see", "run"]
