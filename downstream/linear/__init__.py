"""Linear classifiers on a frozen network (Wu et al. 2018, section 4.2): settings and presets, solvers, the task."""

from downstream.linear import lbfgs, sgd, svm  # noqa: F401  registers them
from downstream.linear.settings import PRESETS, Settings
from downstream.linear.task import images_to_see, run
from downstream.linear.work import SOLVERS

__all__ = ["PRESETS", "SOLVERS", "Settings", "images_to_see", "run"]
