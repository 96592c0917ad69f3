"""Activations of a frozen network's layers for whole data sets, in one forward pass, kept on disk for every task."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.features.cache import Store
from downstream.features.extract import Progress, batches
from zoo import Backbone, SettingsError
from zoo.data.sources import Source

# kernel, stride, padding of VISSL's average pools for the maps of a 224-pixel image (its linear evaluation of NPID)
_VISSL = {112: (10, 10, 4), 56: (16, 8, 0), 28: (13, 5, 0), 14: (8, 3, 0), 7: (6, 1, 0)}
_WIDTH = 9216  # about as many numbers per layer as VISSL's pools leave
_VERSION = 2  # of what is kept; a new number leaves old files alone
DEEP = ("pooled", "embedding")  # what every network has beyond its maps
_EXACT = ("embedding", "pooled", "good")  # kept as they are; the others in fp16


def pool(maps: Tensor) -> Tensor:
    """B×C×H×W → B×C×g×g: VISSL's pools where the map is one of theirs, else a grid of at most 9216 numbers in all."""
    side, channels = min(maps.shape[2:]), maps.shape[1]
    if side in _VISSL and maps.shape[2] == maps.shape[3]:
        kernel, stride, padding = _VISSL[side]
        pooled = F.avg_pool2d(maps, kernel, stride, padding)
        if pooled[0].numel() <= 2 * _WIDTH:
            return pooled
    grid = max(1, min(side, int((_WIDTH / channels) ** 0.5)))
    return F.adaptive_avg_pool2d(maps, grid)


def check_layers(model: Backbone, layers: Sequence[str]) -> None:
    """
    Raises:
        SettingsError: naming the layers that the model does not have.
    """
    known = (*model.layers, *DEEP)
    if unknown := [name for name in layers if name not in known]:
        raise SettingsError(
            f"{model.arch} has no layer {', '.join(unknown)}; it has {', '.join(known)}"
        )


def activations(model: Backbone, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """All layers from one forward pass.

    Args:
        model: in eval mode.
        images: B×3×S×S, normalised.
        layers: names out of ``model.layers`` (B×C×g×g, pooled), ``pooled`` (B×F: what the projection reads, for a
            ResNet the global average), ``embedding`` (B×D unit vectors) and ``pixels`` (B×3·S·S: the images).
    """
    inner = [name for name in layers if name in model.layers]
    found: dict[str, Tensor] = {"pixels": images.flatten(1)} if "pixels" in layers else {}
    if not set(layers) & set(DEEP):
        found |= (
            {name: pool(maps) for name, maps in model.features(images, inner).items()}
            if inner
            else {}
        )
        return found
    hooks = []
    for name, stage in model._stages():
        if name in inner:

            def keep(_module: object, _inputs: object, maps: Tensor, name: str = name) -> None:
                found[name] = pool(maps)

            hooks.append(stage[-1].register_forward_hook(keep))
    projection = model.get_submodule(model.projection)
    hooks.append(
        projection.register_forward_pre_hook(
            lambda _, inputs: found.update(pooled=inputs[0].float())
        )
    )
    try:
        found["embedding"] = model.embed(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def state_digest(model: Backbone) -> str:
    """sha256 of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def frozen(model: Backbone, device: str) -> Iterator[Backbone]:
    """The model in eval mode on the device; afterwards its mode is as it was, and every bit of it was compared."""
    before, was_training = state_digest(model), model.training
    try:
        yield model.to(device).eval()
    finally:
        model.train(was_training)
    if state_digest(model) != before:
        raise RuntimeError(f"the frozen {model.arch} was changed: a bug")


@torch.no_grad()
def layer_features(
    model: Backbone,
    source: Source,
    layers: Sequence[str],
    *,
    sha256: str | None = None,
    batch: int = 256,
    device: str = "cpu",
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Rows of every image and layer; the model is frozen and in eval mode.

    With ``sha256`` they are kept in the cache folder, under what they depend on: the weights, the data's digest and the
    transform. A later call takes what is there, an interrupted one goes on where it was, and a layer that is missing
    is added. Memory holds one batch; the rows that come back are mapped from the disk.

    Args:
        model: weights and BatchNorm statistics are left as they are.
        source: the images.
        layers: see :func:`activations`.
        sha256: of the model's weights, or None to keep everything in memory and nothing on disk.
        batch, device, workers: how.
        progress: is called with the number of images at a time, those that were kept at once.

    Returns:
        {layer: N×F}, fp16, ``embedding`` and ``pooled`` fp32; and ``good``: N bools, whether the image could be read.
    """
    about = None
    if sha256 is not None:
        about = {"version": _VERSION, "model": sha256, "data": source.digest, "split": source.split}
        about |= {"transform": repr(model.preprocess()), "skip_bad": source.skip_bad}
    store = Store(about, len(source))
    names = (*layers, "good")
    start = min(store.done.get(name, 0) for name in names)
    if progress is not None and start:
        progress(start)
    if start < len(source):
        with frozen(model, device):
            how = {"batch": batch, "device": device, "workers": workers}
            for images, good in batches(model, source, index=np.arange(start, len(source)), **how):  # type: ignore[arg-type]
                found = {"good": good} | activations(model, images, layers)
                store.write(start, {name: _row(name, found[name]) for name in names})
                start += len(good)
                if progress is not None:
                    progress(len(good))
    return {name: torch.from_numpy(store.read(name)) for name in names}


def _row(name: str, values: Tensor) -> np.ndarray:
    if name in _EXACT:
        return values.cpu().numpy()
    most = torch.finfo(torch.float16).max
    return values.flatten(1).clamp(-most, most).half().cpu().numpy()
