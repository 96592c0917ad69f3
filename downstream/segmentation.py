"""Semantic segmentation as a task: a class for every pixel, read from a backbone's maps."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from downstream.figures import Table
from downstream.task import (
    OnProgress,
    Task,
    TaskConfig,
    TaskInputs,
    count_images,
    option,
    register_task,
)
from zoo.data.split_names import parse_share
from zoo.errors import SettingsError
from zoo.results import Results
from zoo.utils.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from zoo import Backbone
    from zoo.data.segmentation import SegmentationSplit

HEADS = ("linear", "fcn")
_DEFAULT_SIZE = 160  # of networks that take images of any size


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(TaskConfig):
    """How a head is trained on a backbone's maps.

    Attributes:
        head: ``linear`` or ``fcn``, see :func:`make_head`.
        layers: whose maps the head sees, side by side; empty for the last one.
        freeze: whether the backbone stays as it is.
        scratch: whether the same network with random weights is scored too, trained the same way.
        size: side of the square that images are resized to; 0 for 160, or for what the backbone is
            made for where it takes no other size.
        epochs: passes over the training images.
        batch_size: images per step.
        lr: of the backbone; it falls with (1 − step/steps)^0.9.
        head_lr: how many times that the head learns with.
        momentum: of SGD.
        weight_decay: of SGD.
        scale: smallest side of the random crop, as a share of the image's; 1 for no crops.
        flip: probability of a horizontal flip.
    """

    head: str = option("linear", "What is trained on the maps: linear or fcn.")
    layers: tuple[str, ...] = option((), "Layers that the head sees, with commas; the last one.")
    freeze: bool = option(True, "Keep the backbone as it is.")
    scratch: bool = option(True, "Score the same network with random weights too.")
    size: int = option(
        0, "Side of the square that images are resized to; 0 for what suits the model.", minimum=0
    )
    epochs: int = option(20, "Passes over the training images.", minimum=1)
    batch_size: int = option(16, "Images per step.", minimum=2)
    lr: float = option(0.01, "Learning rate of the backbone.")
    head_lr: float = option(10.0, "Learning rate of the head, as a multiple of --lr.")
    momentum: float = option(0.9, "Momentum of SGD.", hidden=True)
    weight_decay: float = option(1e-4, "Weight decay of SGD.", hidden=True)
    scale: float = option(0.5, "Smallest side of a crop.", hidden=True)
    flip: float = option(0.5, "Probability of a flip.", hidden=True)

    def faults(self) -> list[str]:
        """What is wrong with the values, a line each."""
        found = super().faults()
        if self.head not in HEADS:
            found.append(f"head must be one of {', '.join(HEADS)}, got {self.head!r}")
        if len(set(self.layers)) < len(self.layers):
            found.append(f"layers are named twice: {', '.join(self.layers)}")
        if self.lr <= 0:
            found.append(f"lr must be positive, got {self.lr}")
        if self.head_lr <= 0:
            found.append(f"head_lr must be positive, got {self.head_lr}")
        if not 0 < self.scale <= 1:
            found.append(f"scale must lie in (0, 1], got {self.scale}")
        if not 0 <= self.flip <= 1:
            found.append(f"flip must lie in [0, 1], got {self.flip}")
        return found


PRESETS: Registry[SegmentConfig] = Registry("segmentation preset")

# npid segment MODEL VOC_ROOT
# A 1×1 convolution on frozen maps: what the features hold. Minutes on a CPU for some 100 images.
PRESETS.register("linear")(SegmentConfig())

# npid segment MODEL VOC_ROOT --preset fcn
# The whole network learns, as in Long et al. 2015; several times slower than the linear head.
PRESETS.register("fcn")(SegmentConfig(head="fcn", freeze=False))


@register_task
class Segment(Task[SegmentConfig]):
    """Train a head on a model's maps, and the same on the network with random weights.

    Metrics: ``pretrained/mIoU``, ``pretrained/pixel_accuracy`` and ``pretrained/IoU/CLASS``, the
    same with ``scratch/``, 0–1. Details: the confusion matrix of each, in pixels.
    """

    name: ClassVar[str] = "segment"
    title: ClassVar[str] = "segmentation"
    help: ClassVar[str] = (
        "Train a model to name the class of every pixel, and score it by mean IoU."
    )
    hub_task_type: ClassVar[str] = "image-segmentation"
    Config = SegmentConfig
    presets = PRESETS
    default_preset: ClassVar[str] = "linear"
    data_metavar: ClassVar[str] = "VOC_ROOT"
    data_help: ClassVar[str] = (
        "A folder in VOC's layout: JPEGImages/, SegmentationClass/, ImageSets/Segmentation/."
    )
    omitted_options: ClassVar[tuple[str, ...]] = ("skip_bad",)

    def num_images(self, inputs: TaskInputs, config: SegmentConfig) -> int:
        """Images of all steps, and those that are scored, for each start."""
        train, test = _open_splits(inputs)
        batch_size = min(config.batch_size, len(train))
        trained = config.epochs * (len(train) // batch_size) * batch_size
        return len(_starts(config.scratch)) * (trained + len(test))

    def headline(self, inputs: TaskInputs, config: SegmentConfig) -> str:
        """The line above the table."""
        state = "frozen" if config.freeze else "fine-tuned"
        return f"{inputs.model_name}, {state}, {config.head} head on {inputs.data}: IoU, %"

    def run(
        self, inputs: TaskInputs, config: SegmentConfig, on_progress: OnProgress | None = None
    ) -> Results:
        """Train and score each start."""
        began = time.monotonic()
        config.check()
        config = _resolve(inputs.model, config)
        train, test = _open_splits(inputs)
        train.check()
        test.check()
        metrics: dict[str, float] = {}
        details: dict[str, Any] = {"classes": list(test.classes)}
        for start in _starts(config.scratch):
            scratch = start == "scratch"
            backbone = inputs.untrained_model(config.seed) if scratch else inputs.fresh_model()
            on_images = count_images(on_progress, start)
            head = fit(backbone, train, config, on_images)
            confusion = confusion_matrix(backbone, head, test, config, on_images)
            for name, value in segmentation_scores(confusion, test.classes).items():
                metrics[f"{start}/{name}"] = value
            details[start] = {"confusion": confusion.tolist()}
        return self.results(
            inputs,
            config,
            split_sizes={"train": len(train), "test": len(test)},
            metrics=metrics,
            seconds=time.monotonic() - began,
            details=details,
        )

    def table(self, results: Results) -> Table:
        """A row per score, a column per start."""
        starts = _starts(results.settings["scratch"])
        scores: dict[str, dict[str, float]] = {}
        for name, value in results.metrics.items():
            start, score = name.split("/", 1)
            scores.setdefault(score, {})[start] = value
        rows: list[Sequence[object]] = []
        for score, by_start in scores.items():
            cells = [100 * by_start[start] if start in by_start else "" for start in starts]
            rows.append((score.removeprefix("IoU/"), *cells))
        return Table(columns=("", *starts), rows=rows)


def _open_splits(inputs: TaskInputs) -> tuple["SegmentationSplit", "SegmentationSplit"]:
    from zoo.data.segmentation import open_segmentation

    return open_segmentation(
        inputs.data,
        train=inputs.split,
        test=inputs.test_split,
        holdout=parse_share(inputs.holdout) if inputs.holdout else None,
        seed=inputs.seed,
    )


def _starts(scratch: bool) -> list[str]:
    return ["pretrained", "scratch"] if scratch else ["pretrained"]


def _resolve(backbone: "Backbone", config: SegmentConfig) -> SegmentConfig:
    """The config with layers and size filled in.

    Raises:
        SettingsError: for layers that the backbone lacks, or a size that it does not take.
    """
    layers = config.layers or backbone.layers[-1:]
    unknown = [name for name in layers if name not in backbone.layers]
    if unknown:
        raise SettingsError(
            f"{backbone.arch} has no layer {', '.join(unknown)}; it has "
            f"{', '.join(backbone.layers)}"
        )
    made_for = backbone.input.size
    size = config.size or (_DEFAULT_SIZE if backbone.takes_any_size else made_for)
    if size != made_for and not backbone.takes_any_size:
        raise SettingsError(f"{backbone.arch} takes images of {made_for} pixels only, not {size}")
    return replace(config, layers=layers, size=size)


def make_head(kind: str, channels: int, num_classes: int) -> "nn.Sequential":
    """Make the layers between maps and class scores.

    Args:
        kind: ``linear``: a 1×1 convolution on standardised maps; ``fcn``: a 3×3 convolution to a
            quarter of the channels, BatchNorm, ReLU, and the 1×1 convolution (the head of Long et
            al. 2015 as torchvision has it, without dropout).
        channels: C.
        num_classes: K.

    Returns:
        A module from B×C×H×W to B×K×H×W.
    """
    from torch import nn

    if kind == "linear":
        return nn.Sequential(
            nn.BatchNorm2d(channels, affine=False), nn.Conv2d(channels, num_classes, 1)
        )
    hidden = max(channels // 4, 64)
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, num_classes, 1),
    )


def joined_maps(backbone: "Backbone", images: "Tensor", layers: Sequence[str]) -> "Tensor":
    """Compute maps of some layers, side by side.

    Args:
        backbone: any.
        images: B×3×S×S, normalised.
        layers: names out of ``backbone.layers``.

    Returns:
        B×(sum of channels)×H×W, H×W being those of the layer with the finest maps; the others are
        resized bilinearly.
    """
    import torch
    import torch.nn.functional as F

    maps = list(backbone.features(images, layers).values())
    finest = max((one.shape[-2:] for one in maps), key=lambda shape: shape.numel())
    resized = []
    for one in maps:
        if one.shape[-2:] != finest:
            one = F.interpolate(one, finest, mode="bilinear", align_corners=False)
        resized.append(one)
    return torch.cat(resized, 1)


def fit(
    backbone: "Backbone",
    split: "SegmentationSplit",
    config: SegmentConfig,
    on_images: Callable[[int], None] | None = None,
) -> "nn.Sequential":
    """Train a head by per-pixel cross-entropy, and the backbone with it unless it is frozen.

    Args:
        backbone: is moved to the device and, unless frozen, changed.
        split: images and masks.
        config: with layers and size.
        on_images: is called with the number of images of each step.

    Returns:
        The head; both are in eval mode.

    Raises:
        SettingsError: if the loss is not finite any more.
    """
    import torch
    import torch.nn.functional as F

    device = torch.device(config.device)
    torch.manual_seed(config.seed)
    channels = sum(info.channels for info in backbone.feature_info if info.name in config.layers)
    head = make_head(config.head, channels, len(split.classes)).to(device).train()
    backbone.to(device).train(not config.freeze)
    optimizer = _optimizer(backbone, head, config)
    batch_size = min(config.batch_size, len(split))
    num_steps = config.epochs * (len(split) // batch_size)
    for step, (images, masks) in enumerate(_training_batches(backbone, split, config, batch_size)):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - step / num_steps) ** 0.9
        with torch.set_grad_enabled(not config.freeze):
            maps = joined_maps(backbone, images, config.layers)
        logits = F.interpolate(head(maps), images.shape[-2:], mode="bilinear", align_corners=False)
        loss = _pixel_loss(logits, masks)
        if not loss.isfinite():
            raise SettingsError(f"training diverged in step {step}; lower --lr {config.lr:g}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if on_images is not None:
            on_images(len(images))
    backbone.eval()
    return head.eval()


def _pixel_loss(logits: "Tensor", masks: "Tensor") -> "Tensor":
    """Mean cross-entropy of the pixels that count; 0 where there are none."""
    import torch.nn.functional as F

    from zoo.data.segmentation import IGNORED

    loss = F.cross_entropy(logits.float(), masks, ignore_index=IGNORED, reduction="sum")
    return loss / (masks != IGNORED).sum().clamp(min=1)


def _optimizer(
    backbone: "Backbone", head: "nn.Sequential", config: SegmentConfig
) -> "torch.optim.SGD":
    """SGD whose groups remember their first learning rate as ``initial_lr``."""
    import torch

    head_lr = config.lr * config.head_lr
    groups = [{"params": list(head.parameters()), "lr": head_lr, "initial_lr": head_lr}]
    if not config.freeze:
        trunk = list(backbone.parameters())
        groups.append({"params": trunk, "lr": config.lr, "initial_lr": config.lr})
    return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)


def _training_batches(
    backbone: "Backbone", split: "SegmentationSplit", config: SegmentConfig, batch_size: int
) -> "Iterator[tuple[Tensor, Tensor]]":
    """Random crops of all epochs: B×3×S×S normalised images and B×S×S masks, on the device."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from zoo.data.loader import epoch_order

    with ThreadPoolExecutor(max(1, config.workers)) as pool:
        ahead: list[Future[tuple[Tensor, Tensor]]] = []
        for epoch in range(config.epochs):
            for indices in epoch_order(config.seed, epoch, len(split), batch_size).tolist():
                submitted = []
                for index in indices:
                    submitted.append(pool.submit(_random_crop, split, config, epoch, index))
                if ahead:
                    yield _stack(backbone, ahead, config.device)
                ahead = submitted
        yield _stack(backbone, ahead, config.device)


def _stack(backbone: "Backbone", crops: "Sequence[Any]", device: str) -> "tuple[Tensor, Tensor]":
    from torch.utils.data import default_collate

    pixels, masks = default_collate([crop.result() for crop in crops])
    return _normalize(backbone, pixels.to(device)), masks.to(device)


def _normalize(backbone: "Backbone", pixels: "Tensor") -> "Tensor":
    """B×3×S×S: B×S×S×3 uint8 pixels on the backbone's scale."""
    images = pixels.permute(0, 3, 1, 2).float() / 255
    mean = images.new_tensor(backbone.input.mean)[:, None, None]
    std = images.new_tensor(backbone.input.std)[:, None, None]
    return (images - mean) / std


def _random_crop(
    split: "SegmentationSplit", config: SegmentConfig, epoch: int, index: int
) -> "tuple[Tensor, Tensor]":
    """S×S×3 uint8 pixels and S×S class numbers of the same random box, flipped or not."""
    import numpy as np
    import torch
    from PIL import Image

    from zoo.data.keyed_random import uniforms

    draws = uniforms(config.seed, epoch, torch.tensor([index]), 4)[0].tolist()
    image = split.image(index)
    share = config.scale + (1 - config.scale) * draws[0]
    width = share * image.width
    height = share * image.height
    left = draws[1] * (image.width - width)
    top = draws[2] * (image.height - height)
    box = (left, top, left + width, top + height)
    shape = (config.size, config.size)
    pixels = np.array(image.resize(shape, Image.Resampling.BILINEAR, box))
    mask = Image.fromarray(split.mask(index))
    numbers = np.array(mask.resize(shape, Image.Resampling.NEAREST, box)).astype(np.int64)
    if draws[3] < config.flip:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        numbers = np.ascontiguousarray(numbers[:, ::-1])
    return torch.from_numpy(pixels), torch.from_numpy(numbers)


def confusion_matrix(
    backbone: "Backbone",
    head: "nn.Sequential",
    split: "SegmentationSplit",
    config: SegmentConfig,
    on_images: Callable[[int], None] | None = None,
) -> "Tensor":
    """Count the pixels of a split by true class and predicted class.

    Each image is resized to the size of the config, and the class scores to the image's own size.

    Returns:
        K×K int64, rows the truth; pixels that are ignored are in none.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F
    from PIL import Image

    confusion = torch.zeros(len(split.classes), len(split.classes), dtype=torch.int64)
    shape = (config.size, config.size)
    for index in range(len(split)):
        resized = split.image(index).resize(shape, Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized))[None].to(config.device)
        truth = torch.from_numpy(split.mask(index)).long()
        with torch.no_grad():
            logits = head(joined_maps(backbone, _normalize(backbone, pixels), config.layers))
            logits = F.interpolate(logits, truth.shape, mode="bilinear", align_corners=False)
        add_to_confusion(confusion, truth, logits[0].argmax(0).cpu())
        if on_images is not None:
            on_images(1)
    return confusion


def add_to_confusion(confusion: "Tensor", truth: "Tensor", predicted: "Tensor") -> None:
    """Add the pixels of an image to a confusion matrix.

    Args:
        confusion: K×K int64, rows the truth; is changed.
        truth: class numbers of any shape, 255 where a pixel is ignored.
        predicted: class numbers of the same shape.
    """
    import torch

    from zoo.data.segmentation import IGNORED

    num_classes = len(confusion)
    counted = truth != IGNORED
    pairs = truth[counted] * num_classes + predicted[counted]
    confusion += torch.bincount(pairs, minlength=num_classes**2).view_as(confusion)


def segmentation_scores(confusion: "Tensor", classes: Sequence[str]) -> dict[str, float]:
    """Compute what PASCAL VOC scores segmentation by.

    Args:
        confusion: K×K pixel counts, rows the truth.
        classes: K names.

    Returns:
        ``mIoU``, ``pixel_accuracy`` and ``IoU/CLASS``, 0–1. A class that neither occurs nor is
        predicted has no IoU and is not in the mean.

    Example:
        >>> import torch
        >>> scores = segmentation_scores(torch.tensor([[3, 1], [0, 2]]), ["road", "sky"])
        >>> round(scores["IoU/road"], 3), round(scores["mIoU"], 3)
        (0.75, 0.708)
    """
    counts = confusion.double()
    correct = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - correct
    per_class: dict[str, float] = {}
    for name, both, either in zip(classes, correct.tolist(), union.tolist(), strict=True):
        if either:
            per_class[f"IoU/{name}"] = both / either
    return {
        "mIoU": sum(per_class.values()) / max(len(per_class), 1),
        "pixel_accuracy": (correct.sum() / counts.sum().clamp(min=1)).item(),
        **per_class,
    }
