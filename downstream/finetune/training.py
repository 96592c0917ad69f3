"""Training a network and a classifier on it, together."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import zoo
from downstream.features.extract import image_batches
from downstream.finetune.classifier import Classifier
from downstream.finetune.config import FinetuneConfig
from downstream.metrics import score_classes
from zoo import Backbone, DataError
from zoo.data.augment import Augmentation, Augmenter
from zoo.data.loader import epoch_order, open_batches
from zoo.data.source import Source
from zoo.utils.precision import fast_bf16, shrinks_a_pixel


def _autocast(network: Backbone, device: torch.device) -> torch.autocast:
    make = partial(
        zoo.create,
        network.arch,
        embed_dim=network.embed_dim,
        stem=network.stem,
        input=network.input,
    )
    enabled = fast_bf16(device)
    if enabled and device.type == "cpu":
        enabled = not shrinks_a_pixel(make, network.input.size)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _optimizer(model: Classifier, config: FinetuneConfig) -> torch.optim.SGD:
    """SGD whose groups carry their multiple of the learning rate as ``lr_scale``."""
    head = list(model.head.parameters())
    in_head = {id(parameter) for parameter in head}
    trunk = [parameter for parameter in model.parameters() if id(parameter) not in in_head]
    groups = [
        {"params": trunk, "lr_scale": 1.0},
        {"params": head, "lr_scale": config.head_lr},
    ]
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )


def fit(
    network: Backbone,
    source: Source,
    indices: NDArray[np.int64],
    config: FinetuneConfig,
    seed: int,
    on_images: Callable[[int], None] | None = None,
) -> Classifier:
    """Train a network and a classifier on it, on some images of a source.

    Args:
        network: is changed: every weight of it learns, BatchNorm statistics too.
        source: with labels.
        indices: the images that are used.
        config: settings.
        seed: of the classifier, the batches and the crops.
        on_images: is called with the number of images of each step.

    Returns:
        The two in eval mode.
    """
    labels, classes = source.require_labels()
    device = torch.device(config.device)
    autocast = _autocast(network, device)
    torch.manual_seed(seed)
    model = Classifier(network, len(classes), config.layers)
    model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = _optimizer(model, config)
    spec = network.input
    crop = Augmentation(
        size=spec.size, scale=config.scale, flip=config.flip, jitter=0.0, grayscale=0.0
    )
    augmenter = Augmenter(crop, spec.mean, spec.std, seed)
    loader = open_batches(source, augmenter, device, config.workers)
    chosen = torch.from_numpy(indices)
    answers = torch.from_numpy(labels).to(device)
    for epoch, drops, steps in training_schedule(config, len(chosen), seed):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * group["lr_scale"] * 0.1**drops
        for images, batch in loader.augmented(epoch, chosen[steps]):
            if len(batch) < 2:  # the others were bad and skipped; BatchNorm needs two
                continue
            with autocast:
                logits = model(images)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), answers[batch]).backward()
            optimizer.step()
            if on_images is not None:
                on_images(len(batch))
    return model.eval()


def training_schedule(
    config: FinetuneConfig, num_images: int, seed: int
) -> Iterator[tuple[int, int, Tensor]]:
    """The epochs of a run.

    Yields:
        Epoch, how often the learning rate has dropped, and the steps×batch places of the subset.
    """
    batch_size = min(config.batch_size, num_images)
    steps_per_epoch = num_images // batch_size
    epochs = max(config.epochs, -(-config.least_steps // steps_per_epoch))
    for epoch in range(epochs):
        drops = 0
        for milestone in config.lr_milestones:
            drops += epoch * config.epochs >= milestone * epochs
        yield epoch, drops, epoch_order(seed, epoch, num_images, batch_size)


def count_training_images(config: FinetuneConfig, sizes: list[int]) -> int:
    """Images that a task trains on in all, given the sizes of its parts."""
    per_run = 0
    for size in sizes:
        for _, _, steps in training_schedule(config, size, 0):
            per_run += steps.numel()
    return per_run * config.seeds * (1 + config.scratch)


@torch.no_grad()
def score_classifier(model: Classifier, source: Source, config: FinetuneConfig) -> dict[str, Any]:
    """Score a model on the images that can be read.

    Returns:
        What :func:`downstream.metrics.score_classes` gives, and ``images``: their number.

    Raises:
        DataError: if none can be read.
    """
    labels, classes = source.require_labels()
    logits, readable = [], []
    loader = image_batches(
        model.backbone, source, batch_size=256, device=config.device, workers=config.workers
    )
    for images, good in loader:
        logits.append(model(images).float().cpu())
        readable.append(good)
    kept = torch.cat(readable)
    if not kept.any():
        raise DataError(f"{source.data}: none of the {len(kept)} test images could be read")
    scores = score_classes(torch.cat(logits)[kept], torch.from_numpy(labels)[kept], classes)
    return scores | {"images": int(kept.sum())}
