"""The zoo: what a backbone is, where its weights live, and where images come from.

model = zoo.load("path/or/org/name")
vectors = model.embed(images)
"""

from pathlib import Path

from zoo.backbones import BACKBONES, Backbone, InputSpec, create, list_models
from zoo.convert import convert
from zoo.errors import DataError, HubError, ModelError, NpidError, RunError, SettingsError
from zoo.weights import load_bank, load_directory, save

__version__ = "0.1.0"
__all__ = [
    "BACKBONES",
    "Backbone",
    "DataError",
    "HubError",
    "InputSpec",
    "ModelError",
    "NpidError",
    "RunError",
    "SettingsError",
    "convert",
    "create",
    "list_models",
    "load",
    "load_bank",
    "locate",
    "save",
]


def locate(model: str | Path) -> Path:
    """The directory of a model, fetched from the Hub where it is not one here; see :func:`load`."""
    if Path(model).exists() or not isinstance(model, str):
        return Path(model)
    from zoo import hub  # the Hub's client takes long to import, and a directory does not need it

    return hub.pull(model) if hub.is_repo(model) else Path(model)


def load(model: str | Path) -> Backbone:
    """A pretrained backbone in eval mode, ready for ``embed`` and ``features``.

    Args:
        model: a model directory (``npid export`` writes one), or a Hub repository as ``org/name`` or
            ``org/name@revision``. A folder of that name goes first.

    Raises:
        ModelError: if there is no such model or its files do not fit.
        HubError: if it cannot be had from the Hub or the cache.
    """
    return load_directory(locate(model))
