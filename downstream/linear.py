"""Linear classifiers on the frozen activations of each layer (Wu et al. 2018, section 4.2; VISSL's pools)."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import zoo
from downstream.features import Progress
from downstream.layers import layer_features
from downstream.results import Results
from zoo import DataError, SettingsError
from zoo.sources import open_source
from zoo.weights import WEIGHTS, sha256

_HELD_OUT = 0.1  # of the training images, to choose the penalty


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Attributes:
        layers: which; empty for all of the model's.
        penalties: L2 weights λ to choose from on held-out training images; the loss is the mean cross-entropy plus
            λ/2·‖W‖² over standardised features.
        iterations: of L-BFGS at most, per fit.
        untrained: whether the same network with random weights is probed too.
        pixels: whether the raw pixels are probed too.
        seed: of the held-out images and the untrained network.
        device, workers, batch: how images are embedded.
        skip_bad: whether unreadable images are left out.
        cache: whether features are kept on disk for the next time.
    """

    layers: tuple[str, ...] = ()
    penalties: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    iterations: int = 100
    untrained: bool = False
    pixels: bool = False
    seed: int = 0
    device: str = "cpu"
    workers: int = 0
    batch: int = 256
    skip_bad: bool = False
    cache: bool = True


@dataclass(frozen=True)
class Probe:
    """A fitted classifier: ``weight`` C×F and ``bias`` C over features standardised with ``mean`` and ``std``."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """N×C scores of N×F features."""
        parts = features.split(8192)
        return torch.cat([F.linear((x.float() - self.mean) / self.std, self.weight, self.bias) for x in parts])


def fit(features: Tensor, labels: Tensor, classes: int, *, penalty: float, iterations: int = 100) -> Probe:
    """Multinomial logistic regression by L-BFGS on standardised features.

    Args:
        features: N×F, any float type.
        labels: N int64.
        classes: C.
        penalty: λ of λ/2·‖W‖² beside the mean cross-entropy; the bias is free. scikit-learn's C is 1/(λN).
        iterations: at most.
    """
    std, mean = torch.std_mean(features.float(), 0)
    x = (features.float() - mean) / std.clamp_(min=1e-6)
    weight = torch.zeros(classes, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, history_size=10, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), labels) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return Probe(weight.detach(), bias.detach(), mean, std)


def _top1(probe: Probe, features: Tensor, labels: Tensor) -> float:
    return (probe.logits(features).argmax(1) == labels).float().mean().item()


def probe(
    train: Tensor, labels: Tensor, test: Tensor, answer: Tensor, classes: int, settings: Settings
) -> tuple[float, float]:
    """Choose the penalty on held-out training images, fit on all of them, score on the test images.

    Returns:
        Test top-1 (0–1) and the chosen penalty.
    """
    choose = settings.penalties[0]
    if len(settings.penalties) > 1:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(settings.seed))
        held, rest = order.split(
            [max(1, int(len(train) * _HELD_OUT)), len(train) - max(1, int(len(train) * _HELD_OUT))]
        )
        scores = {}
        for penalty in settings.penalties:
            one = fit(train[rest], labels[rest], classes, penalty=penalty, iterations=settings.iterations)
            scores[penalty] = _top1(one, train[held], labels[held])
        choose = max(scores, key=scores.__getitem__)
    return _top1(fit(train, labels, classes, penalty=choose, iterations=settings.iterations), test, answer), choose


def run(model: str | Path, data: str, settings: Settings, progress: Progress | None = None) -> Results:
    """Probe a model's layers.

    Args:
        model: anything that ``zoo.load`` takes.
        data: anything that ``open_source`` takes, with labels in both splits.
        settings: of the task.
        progress: is called with the number of images at a time.

    Returns:
        Metrics ``res5``, …: top-1 per layer, 0–1; with baselines also ``untrained/res5``, … and ``pixels``.

    Raises:
        SettingsError, DataError, ModelError: before anything is trained.
    """
    began = time.monotonic()
    train, test = (open_source(data, split, skip_bad=settings.skip_bad) for split in ("train", "test"))
    (labels, classes), (answer, _) = train.require_labels(), test.require_labels()
    if len(settings.penalties) < 1 or min(settings.penalties) < 0:
        raise SettingsError(f"penalties must be one or more numbers, none negative, got {settings.penalties}")
    if len(train) < 2 * len(classes):
        raise DataError(f"{data}: {len(train)} training images are too few to probe {len(classes)} classes")
    folder = zoo.locate(model)
    backbone, digest = zoo.load(folder), sha256(folder / WEIGHTS)
    layers = settings.layers or backbone.layers
    if unknown := [name for name in layers if name not in backbone.layers]:
        raise SettingsError(f"{backbone.arch} has no layer {', '.join(unknown)}; it has {', '.join(backbone.layers)}")
    networks: list[tuple[str, Any, str | None, Sequence[str]]] = [
        ("", backbone, digest, [*layers, *(["pixels"] if settings.pixels else [])])
    ]
    if settings.untrained:
        torch.manual_seed(settings.seed)
        fresh = zoo.create(backbone.arch, dim=backbone.dim, stem=backbone.stem, input=backbone.input)
        networks.append(("untrained/", fresh.eval(), f"untrained {backbone.arch} {settings.seed}", layers))
    metrics: dict[str, float] = {}
    chosen: dict[str, float] = {}
    sizes: dict[str, int] = {}
    how: dict[str, Any] = {"batch": settings.batch, "device": settings.device, "workers": settings.workers}
    for prefix, network, key, wanted in networks:
        known = key if settings.cache else None
        a, b = (layer_features(network, s, wanted, sha256=known, progress=progress, **how) for s in (train, test))
        y, z = torch.from_numpy(labels)[a["good"]], torch.from_numpy(answer)[b["good"]]
        sizes = {"train": len(y), "test": len(z)}
        for name in wanted:
            score = probe(a[name][a["good"]], y, b[name][b["good"]], z, len(classes), settings)
            metrics[prefix + name], chosen[prefix + name] = score
    return Results(
        task="linear",
        data=data,
        split_sizes=sizes,
        settings={**asdict(settings), "layers": list(layers), "chosen": chosen},
        metrics=metrics,
        model_sha256=digest,
        seconds=round(time.monotonic() - began, 1),
    )
