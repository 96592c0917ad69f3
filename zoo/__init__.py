"""The zoo: what a backbone is, where its weights live, and where images come from.

model = zoo.load("path/or/org/name")
vectors = model.embed(images)
"""

from pathlib import Path

from zoo.backbones import BACKBONES, Backbone, InputSpec, create, list_models
from zoo.errors import DataError, ModelError, NpidError, RunError, SettingsError
from zoo.weights import load_bank, load_directory, save

__version__ = "0.1.0"
__all__ = [
    "BACKBONES",
    "Backbone",
    "DataError",
    "InputSpec",
    "ModelError",
    "NpidError",
    "RunError",
    "SettingsError",
    "create",
    "list_models",
    "load",
    "load_bank",
    "save",
]


def load(model: str | Path) -> Backbone:
    """A pretrained backbone in eval mode, ready for ``embed`` and ``features``.

    Args:
        model: a model directory (``npid export`` writes one).

    Raises:
        ModelError: if there is no such model or its files do not fit.
    """
    return load_directory(model)
