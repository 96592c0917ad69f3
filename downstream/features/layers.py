"""Activations of a frozen network's layers for whole data sets, kept on disk for every task."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.features.cache import LayerCache, LayerRows, LayersInMemory
from downstream.features.extract import OnImages, image_batches
from zoo import Backbone, SettingsError
from zoo.data.sources import Source
from zoo.models.backbone import POOLED

# side of the map → kernel, stride and padding of VISSL's average pools for 224-pixel images
# (facebookresearch/vissl, configs/config/benchmark/linear_image_classification, NPID)
_VISSL_POOLS = {112: (10, 10, 4), 56: (16, 8, 0), 28: (13, 5, 0), 14: (8, 3, 0), 7: (6, 1, 0)}
_POOLED_NUMBERS = 9216  # about as many numbers per layer as VISSL's pools leave
_VERSION = 2  # of what is kept; a new number leaves old files alone
HEAD_LAYERS = ("pooled", "embedding")  # what every network has beyond its maps
_KEPT_EXACTLY = ("embedding", "pooled", "good")  # the others are kept in fp16


def pool(maps: Tensor) -> Tensor:
    """Average a layer's maps down to about 9216 numbers.

    VISSL's pools are used where the map is one of theirs, else a grid of at most 9216 numbers.

    Args:
        maps: B×C×H×W.

    Returns:
        B×C×g×g.
    """
    height, width = maps.shape[2:]
    channels = maps.shape[1]
    side = min(height, width)
    if side in _VISSL_POOLS and height == width:
        kernel, stride, padding = _VISSL_POOLS[side]
        pooled = F.avg_pool2d(maps, kernel, stride, padding)
        if pooled[0].numel() <= 2 * _POOLED_NUMBERS:
            return pooled
    grid = max(1, min(side, int((_POOLED_NUMBERS / channels) ** 0.5)))
    return F.adaptive_avg_pool2d(maps, grid)


def check_layers(model: Backbone, layers: Sequence[str]) -> None:
    """Refuse layers that the model does not have.

    Raises:
        SettingsError: naming them, and those that there are.
    """
    existing = (*model.layers, *HEAD_LAYERS)
    unknown = [name for name in layers if name not in existing]
    if unknown:
        raise SettingsError(
            f"{model.arch} has no layer {', '.join(unknown)}; it has {', '.join(existing)}"
        )


def activations(model: Backbone, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Compute some layers in one forward pass.

    Args:
        model: in eval mode.
        images: B×3×S×S, normalised.
        layers: names out of ``model.layers`` (B×C×g×g, pooled), ``pooled`` (B×F: what the
            projection reads, for a ResNet the global average), ``embedding`` (B×D unit vectors)
            and ``pixels`` (B×3·S·S: the images).

    Returns:
        {layer: activations}, of at least the layers asked for.
    """
    result: dict[str, Tensor] = {}
    if "pixels" in layers:
        result["pixels"] = images.flatten(1)
    requested = [name for name in layers if name in model.layers]
    if set(layers) & set(HEAD_LAYERS):
        requested.append(POOLED)
    for name, values in model.forward_intermediates(images, requested):
        if name == POOLED:
            result["pooled"] = values.float()
            result["embedding"] = F.normalize(model.project(values).float(), dim=1)
        else:
            result[name] = pool(values)
    return result


def state_digest(model: Backbone) -> str:
    """Sha256 of all parameters and buffers, as a hexadecimal string."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def frozen(model: Backbone, device: str) -> Iterator[Backbone]:
    """Hold the model in eval mode on a device; afterwards compare every bit of it.

    Yields:
        The model on the device. Its mode is what it was when the block ends.

    Raises:
        RuntimeError: if a parameter or a buffer was changed within the block.
    """
    digest = state_digest(model)
    was_training = model.training
    try:
        yield model.to(device).eval()
    finally:
        model.train(was_training)
    if state_digest(model) != digest:
        raise RuntimeError(f"the frozen {model.arch} was changed: a bug")


@torch.no_grad()
def layer_features(
    model: Backbone,
    source: Source,
    layers: Sequence[str],
    *,
    sha256: str | None = None,
    batch_size: int = 256,
    device: str = "cpu",
    workers: int = 0,
    on_progress: OnImages | None = None,
) -> dict[str, Tensor]:
    """Compute rows of every image and layer; the model is frozen and in eval mode.

    With ``sha256`` they are kept in the cache folder, under what they depend on: the weights, the
    data's digest and the transform. A later call takes what is there, an interrupted one goes on
    where it was, and a layer that is missing is added. Memory holds one batch; the rows that come
    back are mapped from the disk.

    Args:
        model: weights and BatchNorm statistics are left as they are.
        source: the images.
        layers: see :func:`activations`.
        sha256: of the model's weights, or None to keep everything in memory and nothing on disk.
        batch_size: images at a time.
        device: where the model runs.
        workers: processes that decode images; 0 for this one.
        on_progress: called with a number of images at a time, those that were kept at once.

    Returns:
        {layer: N×F}, fp16, ``embedding`` and ``pooled`` fp32; and ``good``: N bools, whether the
        image could be read.

    Raises:
        DataError: naming an image that cannot be read, unless the source skips bad ones.
        WriteError: if the cache folder cannot be written.

    Example:
        >>> import zoo
        >>> from zoo.data.sources import open_source
        >>> model = zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16))
        >>> rows = layer_features(model, open_source("digits", "test"), ["pooled", "embedding"])
        >>> rows["pooled"].shape, rows["embedding"].shape
        (torch.Size([360, 192]), torch.Size([360, 8]))
    """
    names = (*layers, "good")
    rows = _open_rows(model, source, sha256)
    start = rows.finished(names)
    if on_progress is not None and start:
        on_progress(start)
    if start < len(source):
        with frozen(model, device):
            batches = image_batches(
                model,
                source,
                batch_size=batch_size,
                device=device,
                workers=workers,
                indices=np.arange(start, len(source)),
            )
            for images, good in batches:
                computed = {"good": good} | activations(model, images, layers)
                rows.write(start, {name: _to_row(name, computed[name]) for name in names})
                start += len(good)
                if on_progress is not None:
                    on_progress(len(good))
    return {name: torch.from_numpy(rows.read(name)) for name in names}


def _open_rows(model: Backbone, source: Source, sha256: str | None) -> LayerRows:
    if sha256 is None:
        return LayersInMemory(len(source))
    key = {
        "version": _VERSION,
        "model": sha256,
        "data": source.local_digest,
        "split": source.split,
        "transform": repr(model.preprocess()),
        "skip_bad": source.skip_bad,
    }
    return LayerCache(key, len(source))


def _to_row(name: str, values: Tensor) -> np.ndarray:
    if name in _KEPT_EXACTLY:
        return values.cpu().numpy()
    largest = torch.finfo(torch.float16).max
    return values.flatten(1).clamp(-largest, largest).half().cpu().numpy()
