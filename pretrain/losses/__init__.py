"""What is minimised: one file per objective, one registration per objective."""

from pretrain.losses import exact, infonce, nce, parametric  # noqa: F401  registers them
from pretrain.losses.base import OBJECTIVES, Objective, ObjectiveSettings, proximal

__all__ = ["OBJECTIVES", "Objective", "ObjectiveSettings", "build", "proximal"]


def build(settings: ObjectiveSettings, size: int, dim: int) -> Objective:
    """The objective of the settings, for a bank of ``size`` rows.

    Raises:
        SettingsError: for an unknown name or values out of range.
    """
    settings.check(size)
    return OBJECTIVES[settings.name](settings, size, dim)
