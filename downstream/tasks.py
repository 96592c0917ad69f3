"""Every task that there is: importing this module registers them in ``TASKS``, one line each."""

from downstream import detection, finetune, knn, linear, segmentation  # noqa: F401
from downstream.task import TASKS, run_task

__all__ = ["TASKS", "run_task"]
