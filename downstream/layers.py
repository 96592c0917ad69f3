"""Pooled activations of inner layers for whole data sets, in one forward pass, kept on disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from downstream.features import Progress, batches
from zoo import Backbone
from zoo.files import new_file
from zoo.sources import Source
from zoo.sources.builtin import cache_folder

# kernel, stride, padding of VISSL's average pools for the maps of a 224-pixel image (its linear evaluation of NPID)
_VISSL = {112: (10, 10, 4), 56: (16, 8, 0), 28: (13, 5, 0), 14: (8, 3, 0), 7: (6, 1, 0)}
_WIDTH = 9216  # about as many numbers per layer as VISSL's pools leave
_VERSION = 1  # of what is kept; a new number leaves old files alone


def pool(maps: Tensor) -> Tensor:
    """B×C×H×W → B×(C·g·g): VISSL's pools where the map is one of theirs, else a grid of at most 9216 numbers."""
    side, channels = min(maps.shape[2:]), maps.shape[1]
    if side in _VISSL and maps.shape[2] == maps.shape[3]:
        kernel, stride, padding = _VISSL[side]
        pooled = F.avg_pool2d(maps, kernel, stride, padding)
        if pooled[0].numel() <= 2 * _WIDTH:
            return pooled.flatten(1)
    grid = max(1, min(side, int((_WIDTH / channels) ** 0.5)))
    return F.adaptive_avg_pool2d(maps, grid).flatten(1)


@torch.no_grad()
def _extract(
    model: Backbone, source: Source, layers: Sequence[str], how: dict, progress: Progress | None
) -> dict[str, Tensor]:
    model = model.to(how["device"]).eval()
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    goods = []
    for images, good in batches(model, source, **how):
        found = model.features(images, [name for name in layers if name != "pixels"])
        for name in layers:
            maps = pool(found[name]) if name != "pixels" else images.flatten(1)
            parts[name].append(maps.half().cpu())
        goods.append(good)
        if progress is not None:
            progress(len(good))
    return {name: torch.cat(some) for name, some in parts.items()} | {"good": torch.cat(goods)}


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
    """Pooled activations of every image, all layers in one forward pass; the model is frozen and in eval mode.

    Args:
        model: weights and BatchNorm statistics are left as they are.
        source: the images.
        layers: names out of ``model.layers``; ``pixels`` gives the normalised image itself.
        sha256: of the model's weight file. With it the result is kept in the cache folder for next time.
        batch, device, workers: how.
        progress: is called with the number of images at a time, or once where the cache has them.

    Returns:
        {layer: N×F fp16} and ``good``: N bools, whether the image could be read.
    """
    how = {"batch": batch, "device": device, "workers": workers}
    if sha256 is None:
        return _extract(model, source, layers, how, progress)
    what = [_VERSION, sha256, source.digest, source.split, source.skip_bad, list(layers), repr(model.input)]
    name = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    path = cache_folder() / "features" / f"{name[:32]}.safetensors"
    kept = _read(path)
    if kept is None:
        kept = _extract(model, source, layers, how, progress)
        with new_file(path) as aside:
            save_file(kept, aside)
    elif progress is not None:
        progress(len(source))
    return kept


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None
