"""Fine-tuning the whole network on a part of the labels (Wu et al. 2018, section 4.3)."""

from downstream.finetune.config import PRESETS, FinetuneConfig
from downstream.finetune.task import Finetune

__all__ = ["PRESETS", "Finetune", "FinetuneConfig"]
