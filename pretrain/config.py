"""Every setting of a pretraining run, and the named presets."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pretrain.losses import (
    LOSSES,
    LossConfig,
    change_loss,
    current_name,
    loss_config_from_dict,
    loss_config_to_dict,
    setting_names,
)
from pretrain.memory_bank.local import DTYPES
from zoo import SettingsError
from zoo.data.augment import Augmentation
from zoo.models import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole run. The defaults are those of the ``paper-imagenet`` preset.

    Attributes:
        init: a model to start from, of this backbone, stem, dim and input; random weights if None.
        backbone, stem, dim: arguments of ``zoo.create``; ``stem`` None is the backbone's own.
        mean, std: per-channel statistics on the 0–1 scale.
        loss: what is minimised, with its settings.
        bank_dtype: ``float32``, ``bfloat16`` or ``int8``.
        bank_init: ``features`` of the untrained backbone (learns faster), or ``random`` rows (paper).
        bank_momentum: share of the old row that stays at an update.
        epochs, batch: passes over the images, images per step.
        lr: peak learning rate, of this batch size.
        momentum, nesterov, weight_decay: of SGD; norms and biases are not decayed unless ``decay_all``.
        schedule: ``step`` (×0.1 at each of ``drops``, in epochs) or ``cosine`` (to zero).
        warmup: epochs of linear warm-up.
        sync_bn: whether BatchNorm takes its statistics over all processes' images (many GPUs only) or each its own.
        amp: ``auto`` (bf16 where the hardware has it), ``bfloat16`` or ``float32``.
        seed: of everything.
        knn_every: epochs between kNN scores; 0 for never.
        augment: what is done to the images.
    """

    init: str | None = None
    backbone: str = "resnet50"
    stem: str | None = None
    dim: int = 128
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    loss: LossConfig = field(default_factory=LOSSES["exact"].Config)
    bank_dtype: str = "float32"
    bank_init: str = "random"
    bank_momentum: float = 0.5
    epochs: int = 200
    batch: int = 256
    lr: float = 0.03
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = False
    schedule: str = "step"
    drops: tuple[int, ...] = (120, 160)
    warmup: float = 0.0
    sync_bn: bool = False
    amp: str = "auto"
    seed: int = 0
    knn_every: int = 5
    augment: Augmentation = field(default_factory=Augmentation)

    def check(self) -> None:
        """
        Raises:
            SettingsError: listing every value that is out of range.
        """
        a, least = self.augment, {"epochs": 1, "batch": 2, "dim": 1}
        faults = {
            f"{n} must be at least {k}, got {getattr(self, n)}": getattr(self, n) < k
            for n, k in least.items()
        }
        faults |= {
            f"lr must be positive, got {self.lr}": self.lr <= 0,
            f"momentum must lie in [0, 1), got {self.momentum}": not 0 <= self.momentum < 1,
            "nesterov needs momentum": self.nesterov and not self.momentum,
            f"weight_decay must not be negative, got {self.weight_decay}": self.weight_decay < 0,
            f"bank_momentum must lie in [0, 1), got {self.bank_momentum}": not 0
            <= self.bank_momentum
            < 1,
            f"bank_dtype must be one of {', '.join(DTYPES)}, got {self.bank_dtype!r}": self.bank_dtype
            not in DTYPES,
            f"bank_init must be features or random, got {self.bank_init!r}": self.bank_init
            not in ("features", "random"),
            f"schedule must be step or cosine, got {self.schedule!r}": self.schedule
            not in ("step", "cosine"),
            f"amp must be auto, bfloat16 or float32, got {self.amp!r}": self.amp
            not in ("auto", "bfloat16", "float32"),
            f"knn_every must not be negative, got {self.knn_every}": self.knn_every < 0,
            f"augment.size must be at least 8, got {a.size}": a.size < 8,
            f"augment.scale must be an increasing pair within (0, 1], got {a.scale}": not 0
            < a.scale[0]
            <= a.scale[1],
            f"augment.ratio must be an increasing pair of positive numbers, got {a.ratio}": not 0
            < a.ratio[0]
            <= a.ratio[1],
        }
        found = [message for message, wrong in faults.items() if wrong]
        found += self.loss.faults(2)
        if found:
            raise SettingsError("; ".join(found))


def to_dict(settings: Any) -> dict[str, Any]:
    """Plain values, as JSON gives them back."""
    values = asdict(settings)
    if isinstance(settings, Settings):
        values["loss"] = loss_config_to_dict(settings.loss)
    return json.loads(json.dumps(values))


def from_dict(values: dict[str, Any], kind: type = Settings) -> Any:
    """Settings from :func:`to_dict`'s values.

    Raises:
        SettingsError: for a setting that this version does not know.
    """
    if kind is Settings and "objective" in values:  # as versions until 0.1 called the loss
        values = {("loss" if key == "objective" else key): value for key, value in values.items()}
    known = {f.name: f for f in dataclasses.fields(kind)}
    if strange := sorted(set(values) - set(known)):
        raise SettingsError(f"settings of another version: {', '.join(strange)} are unknown here")

    def back(name: str, value: Any) -> Any:
        if name == "loss":
            return loss_config_from_dict(value)
        if name == "augment":
            return from_dict(value, Augmentation)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: back(name, value) for name, value in values.items()})


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values under the dotted names that :func:`override` takes."""
    for key, value in values.items():
        yield from (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
        )


def _parse(key: str, text: str, old: Any) -> Any:
    """Text as a value of the same type as the old one."""
    wanted = "text" if isinstance(old, str) or old is None else type(old).__name__
    try:
        if isinstance(old, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.lower()
            ]
        if isinstance(old, tuple):
            kind: type = int if key == "drops" else float
            value = tuple(
                kind(part) for part in text.strip("()[] ").replace(" ", "").split(",") if part
            )
            if key != "drops" and len(value) != len(old):
                wanted = f"{len(old)} numbers, comma between them"
                raise ValueError
            return value
        if isinstance(old, int | float):
            return type(old)(text)
        return None if text.lower() == "none" else text
    except (ValueError, KeyError):
        raise SettingsError(f"{key} must be {wanted}, got {text!r}") from None


def _current_keys(settings: Settings, changes: dict[str, str]) -> dict[str, str]:
    """The changes under today's names, the loss's name first: it decides which other keys there are.

    Those of an old ``objective.`` that the loss does not use are dropped.
    """
    names = ("loss.name", "objective.name")
    current = {}
    loss = settings.loss
    for name in names:
        if name in changes:
            current["loss.name"] = changes[name]
            loss = change_loss(settings.loss, changes[name])
    for key, text in changes.items():
        if key in names:
            continue
        part, dot, name = key.partition(".")
        if part == "objective" and dot:
            now = current_name(loss, name)
            if now is not None:
                current[f"loss.{now}"] = text
        else:
            current[key] = text
    return current


def _all_keys(settings: Settings) -> list[str]:
    nested = ("loss", "augment")
    keys = [f.name for f in dataclasses.fields(Settings) if f.name not in nested]
    keys += [f"loss.{name}" for name in setting_names(settings.loss)]
    keys += [f"augment.{f.name}" for f in dataclasses.fields(Augmentation)]
    return keys


def override(settings: Settings, changes: dict[str, str]) -> Settings:
    """Settings with some values changed.

    Args:
        settings: where to start.
        changes: {"lr": "0.1", "augment.hue": "0.1", "loss.name": "nce"}. A new loss keeps the settings that the old
            one has too.

    Raises:
        SettingsError: for an unknown name, listing those there are, or a value that is none.
    """
    for key, text in _current_keys(settings, changes).items():
        if key == "loss.name":
            settings = dataclasses.replace(settings, loss=change_loss(settings.loss, text))
            continue
        known = _all_keys(settings)
        if key not in known:
            raise SettingsError(f"unknown setting {key!r}; there are: {', '.join(known)}")
        outer, dot, name = key.rpartition(".")
        part = getattr(settings, outer) if dot else settings
        changed: Any = dataclasses.replace(part, **{name: _parse(key, text, getattr(part, name))})
        settings = dataclasses.replace(settings, **{outer: changed}) if dot else changed
    return settings
