"""From what a user calls a model to its directory, and to the model."""

import difflib
from pathlib import Path

from zoo.errors import HubError, ModelError
from zoo.models import bundled
from zoo.models.backbone import Backbone
from zoo.models.model_dir import load_directory


def list_models() -> list[str]:
    """Pretrained models that ship with the library; :func:`load` takes these names."""
    return bundled.names()


def locate(model: str | Path) -> Path:
    """The directory of a model: one here, one that ships with the library, or one fetched from the Hub.

    Raises:
        ModelError: if it is none of them, saying what there is.
        HubError: as :func:`load`.
    """
    if Path(model).exists() or not isinstance(model, str):
        return Path(model)
    if found := bundled.find(model):
        return found
    from zoo import hub  # the Hub's client takes long to import, and a directory does not need it

    if hub.is_repo(model):
        try:
            return hub.pull(model)
        except HubError as error:
            raise type(error)(f"{error}\n(nor is there a folder {model} here)") from error
    close = difflib.get_close_matches(model, list_models(), n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    there = ", ".join(list_models()) or "none in this version"
    raise ModelError(
        f"{model}: no such folder, and no model of that name ships with npid-zoo{hint}; those that do: {there}. "
        "A model is such a name, a directory that `npid export` writes, or a Hub repository, org/name[@revision]"
    )


def load(model: str | Path) -> Backbone:
    """A pretrained backbone in eval mode, ready for ``embed`` and ``features``.

    Args:
        model: a model directory (``npid export`` writes one), a name out of :func:`list_models`, or a Hub repository
            as ``org/name`` or ``org/name@revision``. A folder of that name goes first.

    Raises:
        ModelError: if there is no such model or its files do not fit.
        HubError: if it cannot be had from the Hub or the cache.
    """
    return load_directory(locate(model))
