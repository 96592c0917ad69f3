"""Fine-tuning the whole network on a part of the labels (Wu et al. 2018, section 4.3)."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import zoo
from downstream import metrics as scoring
from downstream.classifier import Classifier
from downstream.features.extract import OnImages, image_batches
from zoo import Backbone, DataError, SettingsError
from zoo.data.augment import Augmentation, Augmenter
from zoo.data.loader import epoch_order, open_batches
from zoo.data.sources import Source
from zoo.data.splits import labelled_splits
from zoo.models.model_dir import WEIGHTS, sha256
from zoo.results import Results
from zoo.utils.files import write_text
from zoo.utils.precision import fast_bf16, shrinks_a_pixel
from zoo.utils.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The defaults are the paper's: 70 epochs, learning rate 0.01, a tenth of it after each 30.

    Attributes:
        labels: parts of the training labels: ``1%``, ``5`` (images per class), or a file that lists images.
        seeds: how many runs per part, each with a subset of its own.
        scratch: whether the same network from random weights is trained too.
        epochs, batch: of training.
        layers: whose maps the classifier sees, side by side; none for what the projection saw.
        least_steps: where the epochs give fewer steps, there are more epochs (the drops move with them).
        lr: of the backbone.
        head_lr: how many times that the new classifier learns with.
        drops: epochs after which both are divided by ten.
        momentum, weight_decay: of SGD.
        scale: range of the random crop's share of the image area.
        flip: probability of a horizontal flip.
        seed: of the first run.
        device, workers: where and how.
        skip_bad: whether unreadable images are left out.
    """

    labels: tuple[str, ...] = ("1%", "2%", "4%", "10%", "20%")
    seeds: int = 1
    scratch: bool = True
    epochs: int = 70
    batch: int = 256
    layers: tuple[str, ...] = ()
    least_steps: int = 0
    lr: float = 0.01
    head_lr: float = 1.0
    drops: tuple[int, ...] = (30, 60)
    momentum: float = 0.9
    weight_decay: float = 1e-4
    scale: tuple[float, float] = (0.2, 1.0)
    flip: float = 0.5
    seed: int = 0
    device: str = "cpu"
    workers: int = 0
    skip_bad: bool = False

    def check(self) -> None:
        """
        Raises:
            SettingsError: listing every value that is out of range.
        """
        faults = {
            "labels must name one part or more, as 1%,10%": not self.labels,
            f"labels are named twice: {', '.join(self.labels)}": len(set(self.labels))
            < len(self.labels),
            f"seeds must be at least 1, got {self.seeds}": self.seeds < 1,
            f"epochs must be at least 1, got {self.epochs}": self.epochs < 1,
            f"batch must be at least 2, got {self.batch}": self.batch < 2,
            f"lr must be positive, got {self.lr}": self.lr <= 0,
            f"head_lr must be positive, got {self.head_lr}": self.head_lr <= 0,
        }
        if found := [message for message, wrong in faults.items() if wrong]:
            raise SettingsError("; ".join(found))


PRESETS: Registry[Settings] = Registry("fine-tuning preset")
PRESETS.register("paper")(Settings())
# small images and few of them: small batches, and no fewer than 1 500 steps for the smallest part either
PRESETS.register("small")(
    Settings(
        epochs=30,
        batch=64,
        least_steps=1500,
        lr=0.02,
        head_lr=5.0,
        drops=(18, 26),
        weight_decay=5e-4,
    )
)
# a handful of labels a class: the classifier sees several layers, and little is drawn at random
PRESETS.register("few")(
    Settings(
        labels=("1", "5", "10"),
        seeds=3,
        epochs=10,
        batch=64,
        layers=("res3", "res4", "res5"),
        least_steps=60,
        lr=0.02,
        drops=(6, 9),
        weight_decay=5e-4,
        scale=(0.8, 1.0),
        flip=0.0,
    )
)


def subset(source: Source, amount: str, seed: int) -> np.ndarray:
    """A class-balanced part of the training images.

    The images of a class come in an order that depends on the seed alone, and a part takes the first of them: the
    smaller parts of a seed lie within the larger ones.

    Args:
        source: with labels.
        amount: ``1%`` of each class; ``5`` images per class; or a text file with a key, or a file name, a line.
        seed: of the order.

    Returns:
        Indices, rising.

    Raises:
        SettingsError: for an amount that is none or gives some class no image; states the minimum.
        DataError: for a list that names images which the source lacks.
    """
    labels, classes = source.require_labels()
    if Path(amount).is_file():
        return _listed(source, Path(amount))
    members = [np.flatnonzero(labels == c) for c in range(len(classes))]
    try:
        share = float(amount.removesuffix("%")) / 100 if amount.endswith("%") else None
        count = int(amount) if share is None else 0
    except ValueError:
        raise SettingsError(
            f"labels: expected 1%, a number of images per class or a file, got {amount!r}"
        ) from None
    if share is None:
        least = min(map(len, members))
        if not 1 <= count <= least:
            raise SettingsError(
                f"labels: {amount} images per class; the smallest class of {source.data} has {least}"
            )
        sizes = [count] * len(classes)
    else:
        if not 0 < share <= 1 or round(share * len(labels)) < len(classes):
            least_share = 100 * len(classes) / len(labels)
            raise SettingsError(
                f"labels: {amount} of {len(labels)} images does not give each of {len(classes)} classes one; "
                f"take at least {least_share:.2g}% and at most 100%"
            )
        sizes = [max(1, round(share * len(some))) if len(some) else 0 for some in members]
    parts = [
        np.random.default_rng([seed, c]).permutation(members[c])[:n] for c, n in enumerate(sizes)
    ]
    return np.sort(np.concatenate(parts))


def _listed(source: Source, path: Path) -> np.ndarray:
    """Indices of the images that a text file names by key or by file name, as the published lists of ImageNet do."""
    keys = [source.key(i) for i in range(len(source))]
    names = Counter(PurePosixPath(key).name for key in keys)
    where = {
        PurePosixPath(key).name: i
        for i, key in enumerate(keys)
        if names[PurePosixPath(key).name] == 1
    }
    where |= {key: i for i, key in enumerate(keys)}
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if missing := [line for line in lines if line not in where]:
        shown = ", ".join(missing[:5])
        raise DataError(
            f"{path}: {len(missing)} of {len(lines)} images are not in {source.data}, or not alone: {shown}"
        )
    if len(lines) < 2:
        raise DataError(f"{path}: names {len(lines)} images, at least 2 are needed")
    return np.unique([where[line] for line in lines])


def _autocast(network: Backbone, device: torch.device) -> torch.autocast:
    make = partial(
        zoo.create,
        network.arch,
        embed_dim=network.embed_dim,
        stem=network.stem,
        input=network.input,
    )
    fast = fast_bf16(device) and not (
        device.type == "cpu" and shrinks_a_pixel(make, network.input.size)
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def fit(
    network: Backbone,
    source: Source,
    index: np.ndarray,
    how: Settings,
    seed: int,
    progress: OnImages | None = None,
) -> Classifier:
    """Train a network and a classifier on it, on some images of a source.

    Args:
        network: is changed: every weight of it learns, BatchNorm statistics too.
        source: with labels.
        index: the images that are used.
        how: settings.
        seed: of the classifier, the batches and the crops.
        progress: is called with the number of images of each step.

    Returns:
        The two in eval mode.
    """
    labels, classes = source.require_labels()
    device, spec = torch.device(how.device), network.input
    autocast = _autocast(network, device)
    torch.manual_seed(seed)
    model = Classifier(network, len(classes), how.layers)
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    head = list(model.head.parameters())
    trunk = [p for p in model.parameters() if all(p is not other for other in head)]
    groups: list[dict[str, Any]] = [
        {"params": trunk, "times": 1.0},
        {"params": head, "times": how.head_lr},
    ]
    solver = torch.optim.SGD(
        groups, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay, fused=True
    )
    crop = Augmentation(size=spec.size, scale=how.scale, flip=how.flip, jitter=0.0, grayscale=0.0)
    images_of = open_batches(
        source, Augmenter(crop, spec.mean, spec.std, seed), device, how.workers
    )
    chosen, answer = torch.from_numpy(index), torch.from_numpy(labels).to(device)
    for epoch, drops, steps in _schedule(how, len(chosen), seed):
        for group in solver.param_groups:
            group["lr"] = how.lr * group["times"] * 0.1**drops
        for images, at in images_of.augmented(epoch, chosen[steps]):
            if len(at) < 2:  # the others were bad and skipped; BatchNorm needs two
                continue
            with autocast:
                logits = model(images)
            solver.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), answer[at]).backward()
            solver.step()
            if progress is not None:
                progress(len(at))
    return model.eval()


def _schedule(how: Settings, images: int, seed: int) -> Iterator[tuple[int, int, Tensor]]:
    """Epoch, how often the learning rate has dropped, and the steps×batch places of the subset."""
    batch = min(how.batch, images)
    epochs = max(how.epochs, -(-how.least_steps // (images // batch)))
    for epoch in range(epochs):
        drops = sum(epoch * how.epochs >= drop * epochs for drop in how.drops)
        yield epoch, drops, epoch_order(seed, epoch, images, batch)


def images_to_train(how: Settings, sizes: list[int]) -> int:
    """Images that a task trains on in all, given the sizes of its parts: what a progress bar counts to."""
    per_run = sum(steps.numel() for size in sizes for _, _, steps in _schedule(how, size, 0))
    return per_run * how.seeds * (1 + how.scratch)


@torch.no_grad()
def score(model: Classifier, source: Source, how: Settings) -> dict[str, Any]:
    """What :func:`downstream.metrics.score` says of a model of :func:`fit`, on the images that can be read."""
    labels, classes = source.require_labels()
    logits, goods = [], []
    for images, good in image_batches(
        model.backbone, source, batch_size=256, device=how.device, workers=how.workers
    ):
        logits.append(model(images).float().cpu())
        goods.append(good)
    kept = torch.cat(goods)
    if not kept.any():
        raise DataError(f"{source.data}: none of the {len(kept)} test images could be read")
    return scoring.score(torch.cat(logits)[kept], torch.from_numpy(labels)[kept], classes)


def run(
    model: str | Path,
    data: str,
    settings: Settings,
    *,
    lists: str | Path | None = None,
    progress: OnImages | None = None,
) -> Results:
    """Fine-tune a model on parts of the labels, beside the same network from scratch.

    Args:
        model: anything that ``zoo.load`` takes.
        data: anything that ``open_source`` takes, with labels in both splits.
        settings: of the task.
        lists: a folder for the subsets, one text file of image keys each, that ``labels`` takes again.
        progress: is called with the number of images of each step.

    Returns:
        Metrics ``pretrained/1%/top1``, ``scratch/1%/top1``, …: means over the seeds, 0–1; ``…/top1_std`` with more
        than one seed. Details: the scores of every run with accuracy per class and confusion matrix.

    Raises:
        SettingsError, DataError, ModelError: before anything is trained.
    """
    began = time.monotonic()
    settings.check()
    train, test = labelled_splits(data, skip_bad=settings.skip_bad)
    folder = zoo.locate(model)
    known = zoo.load(folder)
    if unknown := [name for name in settings.layers if name not in known.layers]:
        raise SettingsError(
            f"{known.arch} has no layer {', '.join(unknown)}; it has {', '.join(known.layers)}"
        )
    seeds = range(settings.seed, settings.seed + settings.seeds)
    parts = {
        (amount, seed): subset(train, amount, seed) for amount in settings.labels for seed in seeds
    }
    if lists is not None:
        for (amount, seed), index in parts.items():
            keys = "".join(train.key(int(i)) + "\n" for i in index)
            write_text(Path(lists) / f"{Path(amount).name}-seed{seed}.txt", keys)
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {}
    for amount in settings.labels:
        for init in ("pretrained", "scratch") if settings.scratch else ("pretrained",):
            runs = []
            for seed in seeds:
                network = zoo.load(folder)
                if init == "scratch":
                    torch.manual_seed(seed)
                    network = zoo.create(
                        network.arch,
                        embed_dim=network.embed_dim,
                        stem=network.stem,
                        input=network.input,
                    )
                fitted = fit(network, train, parts[amount, seed], settings, seed, progress)
                runs.append(score(fitted, test, settings))
            name = f"{init}/{Path(amount).name}"
            details[name] = runs
            metrics |= scoring.over_seeds(name, runs)
    sizes = {Path(amount).name: len(parts[amount, settings.seed]) for amount in settings.labels}
    return Results(
        task="finetune",
        data=data,
        split_sizes={"train": len(train), "test": len(test), **sizes},
        settings=asdict(settings),
        metrics=metrics,
        model_sha256=sha256(folder / WEIGHTS),
        seconds=round(time.monotonic() - began, 1),
        details=details,
    )
