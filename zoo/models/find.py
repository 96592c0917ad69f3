"""From what a user calls a model to its directory, and to the model."""

import difflib
from pathlib import Path

from zoo.errors import HubError, ModelError
from zoo.models import bundled
from zoo.models.backbone import Backbone
from zoo.models.model_dir import load_directory
from zoo.utils.aside import recover


def list_models() -> list[str]:
    """List the pretrained models that ship with the library; :func:`load` takes these names."""
    return bundled.names()


def locate(model: str | Path) -> Path:
    """Find the directory of a model, fetching it where need be.

    Args:
        model: see :func:`load`.

    Raises:
        ModelError: if there is no such model; the message says which there are.
        HubError: if it cannot be had from the Hub or the cache.
    """
    recover(Path(model))
    if not isinstance(model, str) or Path(model).exists():
        return Path(model)
    directory = bundled.find(model)
    if directory is not None:
        return directory
    from zoo import hub  # the Hub's client takes long to import, and a directory does not need it

    if hub.is_repo(model):
        try:
            return hub.pull(model)
        except HubError as error:
            raise type(error)(f"{error}\n(nor is there a folder {model} here)") from error
    close = difflib.get_close_matches(model, list_models(), n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    known = ", ".join(list_models()) or "none in this version"
    raise ModelError(
        f"{model}: no such folder, and no model of that name ships with npid-zoo{hint}; those that "
        f"do: {known}. A model is such a name, a directory that `npid export` writes, or a Hub "
        "repository, org/name[@revision]"
    )


def load(model: str | Path) -> Backbone:
    """Load a pretrained backbone in eval mode, ready for ``embed`` and ``features``.

    Args:
        model: a model directory (``npid export`` writes one), a name out of :func:`list_models`, or
            a Hub repository as ``org/name`` or ``org/name@revision``. A folder of that name goes
            first.

    Raises:
        ModelError: if there is no such model or its files do not fit.
        HubError: if it cannot be had from the Hub or the cache.

    Example:
        >>> import torch, zoo
        >>> model = zoo.load("npid-cifar10-small")
        >>> images = torch.zeros(2, 3, model.input.size, model.input.size)
        >>> model.embed(images).shape
        torch.Size([2, 128])
    """
    return load_directory(locate(model))
