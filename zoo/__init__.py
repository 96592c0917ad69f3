"""The zoo: what a backbone is, where its weights live, and where images come from.

Example:
    >>> import zoo
    >>> model = zoo.load("npid-cifar10-small")
    >>> model.embed_dim
    128
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.data.sources import open_source
    from zoo.errors import DataError, HubError, ModelError, NpidError, RunError, SettingsError
    from zoo.interop.convert import convert
    from zoo.models import BACKBONES, Backbone, InputSpec, create, list_backbones
    from zoo.models.find import list_models, load, locate
    from zoo.models.model_dir import load_bank, save

__version__ = "0.1.0"

# Names are imported when they are first used: torch takes seconds, and errors or `npid --help` do
# not need it.
_HOME = {
    "BACKBONES": "zoo.models",
    "Backbone": "zoo.models",
    "DataError": "zoo.errors",
    "HubError": "zoo.errors",
    "InputSpec": "zoo.models",
    "ModelError": "zoo.errors",
    "NpidError": "zoo.errors",
    "RunError": "zoo.errors",
    "SettingsError": "zoo.errors",
    "convert": "zoo.interop.convert",
    "create": "zoo.models",
    "list_backbones": "zoo.models",
    "list_models": "zoo.models.find",
    "load": "zoo.models.find",
    "load_bank": "zoo.models.model_dir",
    "locate": "zoo.models.find",
    "open_source": "zoo.data.sources",
    "save": "zoo.models.model_dir",
}
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
    "list_backbones",
    "list_models",
    "load",
    "load_bank",
    "locate",
    "open_source",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
