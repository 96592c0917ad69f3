"""Every setting of a pretraining run, and how settings are stored, renamed and changed."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pretrain.losses import (
    LOSSES,
    LossConfig,
    change_loss,
    current_name,
    loss_config_from_dict,
    loss_config_to_dict,
)
from pretrain.memory_bank import STORAGE_DTYPES
from zoo import SettingsError
from zoo.data.augment import Augmentation
from zoo.models import IMAGENET_MEAN, IMAGENET_STD
from zoo.utils.nested import flatten_dict

# The names that 0.1 gave to settings; checkpoints, config.json and --set still hold them.
OLD_NAMES = {
    "objective": "loss",
    "dim": "embed_dim",
    "batch": "batch_size",
    "drops": "lr_milestones",
    "knn_every": "eval_every",
}
_SEEDS = 1 << 32  # a seed times a million still is one
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A whole run. The defaults are those of the ``paper-imagenet`` preset.

    Attributes:
        init: A model to start from, of this backbone, stem, embed_dim and input; random weights if
            None.
        backbone: The name of an architecture, as ``zoo.create`` takes it.
        stem: The backbone's first layers; None for its own.
        embed_dim: Numbers in an embedding.
        mean: Per-channel mean on the 0–1 scale.
        std: Per-channel standard deviation on the 0–1 scale.
        loss: What is minimised, with its settings.
        bank_dtype: ``float32``, ``bfloat16`` or ``int8``.
        bank_init: ``features`` of the untrained backbone (learns faster), or ``random`` rows
            (paper).
        bank_momentum: Share of the old row that stays at an update.
        epochs: Passes over the images.
        batch_size: Images per step, over all processes.
        lr: Peak learning rate, of this batch size.
        momentum: Of SGD.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: Of the weights.
        decay_all: Whether norms and biases are decayed too.
        schedule: ``step`` (×0.1 at each of ``lr_milestones``) or ``cosine`` (to zero).
        lr_milestones: Epochs at which the ``step`` schedule lowers the learning rate.
        warmup: Epochs of linear warm-up.
        sync_bn: Whether BatchNorm takes its statistics over all processes' images (many GPUs only)
            or each its own.
        amp: ``auto`` (bf16 where the hardware has it), ``bfloat16`` or ``float32``.
        seed: Of everything.
        eval_every: Epochs between kNN scores; 0 for never.
        augment: What is done to the images.
    """

    init: str | None = None
    backbone: str = "resnet50"
    stem: str | None = None
    embed_dim: int = 128
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    loss: LossConfig = field(default_factory=LOSSES["exact"].Config)
    bank_dtype: str = "float32"
    bank_init: str = "random"
    bank_momentum: float = 0.5
    epochs: int = 200
    batch_size: int = 256
    lr: float = 0.03
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = False
    schedule: str = "step"
    lr_milestones: tuple[int, ...] = (120, 160)
    warmup: float = 0.0
    sync_bn: bool = False
    amp: str = "auto"
    seed: int = 0
    eval_every: int = 5
    augment: Augmentation = field(default_factory=Augmentation)

    def check(self) -> None:
        """Check that every value is within its range.

        Raises:
            SettingsError: Listing every value that is not.
        """
        faults: list[str] = []

        def require(holds: bool, message: str) -> None:
            if not holds:
                faults.append(message)

        require(self.epochs >= 1, f"epochs must be at least 1, got {self.epochs}")
        require(self.batch_size >= 2, f"batch_size must be at least 2, got {self.batch_size}")
        require(self.embed_dim >= 1, f"embed_dim must be at least 1, got {self.embed_dim}")
        require(self.lr > 0, f"lr must be positive, got {self.lr}")
        require(0 <= self.momentum < 1, f"momentum must lie in [0, 1), got {self.momentum}")
        require(self.momentum > 0 or not self.nesterov, "nesterov needs momentum")
        require(
            self.weight_decay >= 0, f"weight_decay must not be negative, got {self.weight_decay}"
        )
        require(
            0 <= self.bank_momentum < 1,
            f"bank_momentum must lie in [0, 1), got {self.bank_momentum}",
        )
        require(self.eval_every >= 0, f"eval_every must not be negative, got {self.eval_every}")
        require(
            0 <= self.warmup < math.inf, f"warmup must be a number of epochs, got {self.warmup}"
        )
        require(
            all(milestone >= 0 for milestone in self.lr_milestones),
            f"lr_milestones must not be negative, got {self.lr_milestones}",
        )
        require(
            len(self.std) == 3 and all(value > 0 for value in self.std),
            f"std must be three positive numbers, got {self.std}",
        )
        require(abs(self.seed) < _SEEDS, f"seed must lie between -2^32 and 2^32, got {self.seed}")
        faults += _unknown_choices(self)
        faults += [f"augment.{fault}" for fault in self.augment.faults()]
        faults += self.loss.faults(2)
        faults += _unbounded(self)
        if faults:
            raise SettingsError("; ".join(faults))


def _unknown_choices(config: PretrainConfig) -> list[str]:
    """Name the settings that are none of the words that they can be."""
    faults = []
    if config.bank_dtype not in STORAGE_DTYPES:
        known = ", ".join(STORAGE_DTYPES)
        faults.append(f"bank_dtype must be one of {known}, got {config.bank_dtype!r}")
    if config.bank_init not in ("features", "random"):
        faults.append(f"bank_init must be features or random, got {config.bank_init!r}")
    if config.schedule not in ("step", "cosine"):
        faults.append(f"schedule must be step or cosine, got {config.schedule!r}")
    if config.amp not in ("auto", "bfloat16", "float32"):
        faults.append(f"amp must be auto, bfloat16 or float32, got {config.amp!r}")
    return faults


def _unbounded(config: PretrainConfig) -> list[str]:
    """Name the settings that are infinite or no number."""
    faults = []
    for name, value in flatten_dict(asdict(config)).items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                faults.append(f"{name} must be a finite number, got {number}")
    return faults


def to_dict(config: PretrainConfig) -> dict[str, Any]:
    """Turn a config into plain values, as JSON gives them back."""
    values = asdict(config)
    values["loss"] = loss_config_to_dict(config.loss)
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def from_dict(values: Mapping[str, Any]) -> PretrainConfig:
    """Make a config of what :func:`to_dict` gave, in this version or an older one.

    Raises:
        SettingsError: For a setting that this version does not know.
    """
    current: dict[str, Any] = {}
    for key, value in values.items():
        current[OLD_NAMES.get(key, key)] = value
    _check_names(current, PretrainConfig)
    arguments: dict[str, Any] = {}
    for key, value in current.items():
        if key == "loss":
            arguments[key] = loss_config_from_dict(value)
        elif key == "augment":
            _check_names(value, Augmentation)
            arguments[key] = Augmentation(**_with_tuples(value))
        else:
            arguments[key] = value
    return PretrainConfig(**_with_tuples(arguments))


def _check_names(values: Mapping[str, Any], config_type: type) -> None:
    known = {each.name for each in dataclasses.fields(config_type)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SettingsError(f"settings of another version: {', '.join(unknown)} are unknown here")


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the values with the lists that JSON made of tuples as tuples again."""
    copied: dict[str, Any] = {}
    for key, value in values.items():
        copied[key] = tuple(value) if isinstance(value, list) else value
    return copied


def setting_types(config: PretrainConfig) -> dict[str, Any]:
    """Find the declared type of each setting that the config has.

    Returns:
        Annotations by dotted name; those of ``loss.`` are the chosen loss's.
    """
    found: dict[str, Any] = {}
    nested: dict[str, LossConfig | Augmentation] = {"loss": config.loss, "augment": config.augment}
    own_types = typing.get_type_hints(PretrainConfig)
    for each in dataclasses.fields(config):
        if each.name not in nested:
            found[each.name] = own_types[each.name]
    found["loss.name"] = str
    for part_name, part in nested.items():
        types_of_part = typing.get_type_hints(type(part))
        for each in dataclasses.fields(part):
            found[f"{part_name}.{each.name}"] = types_of_part[each.name]
    return found


def parse_value(annotation: Any, text: str) -> Any:
    """Read text as a value of a declared type.

    Args:
        annotation: ``str``, ``int``, ``float``, ``bool``, a tuple of them, or one of these or None.
        text: As a command line gives it: ``true``, ``0.1``, ``(0.3, 1)``, ``none``.

    Raises:
        ValueError: Saying in its message what the text should be.

    Example:
        >>> parse_value(tuple[float, float], "0.3,1")
        (0.3, 1.0)
        >>> parse_value(str | None, "none") is None
        True
    """
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        if text.lower() == "none":
            return None
        [annotation] = [each for each in typing.get_args(annotation) if each is not type(None)]
    if typing.get_origin(annotation) is tuple:
        return _parse_tuple(typing.get_args(annotation), text)
    if annotation is bool:
        if text.lower() not in _TRUTH:
            raise ValueError("bool")
        return _TRUTH[text.lower()]
    if annotation is str:
        return text
    try:
        return annotation(text)
    except ValueError:
        raise ValueError(annotation.__name__) from None


def _parse_tuple(element_types: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    parts = [part for part in text.strip("()[] ").replace(" ", "").split(",") if part]
    any_length = element_types[-1] is Ellipsis
    expected = f"{len(element_types)} numbers, comma between them"
    if any_length:
        expected = "tuple"
    elif len(parts) != len(element_types):
        raise ValueError(expected)
    try:
        return tuple(element_types[0](part) for part in parts)
    except ValueError:
        raise ValueError(expected) from None


def override(config: PretrainConfig, changes: Mapping[str, str]) -> PretrainConfig:
    """Change settings to values given as text, as the command line does.

    Args:
        config: Where to start.
        changes: Texts by dotted name, in any order.

    Raises:
        SettingsError: For an unknown name, listing those there are, or a value that is none.

    Example:
        >>> config = override(PretrainConfig(), {"lr": "0.1", "loss.name": "nce"})
        >>> config.lr, config.loss.name
        (0.1, 'nce')
    """
    config, texts = _choose_loss(config, changes)
    annotations = setting_types(config)
    values: dict[str, Any] = {}
    for key, text in texts.items():
        _check_key(key, annotations)
        try:
            values[key] = parse_value(annotations[key], text)
        except ValueError as error:
            raise SettingsError(f"{key} must be {error}, got {text!r}") from None
    return with_changes(config, values)


def with_changes(config: PretrainConfig, changes: Mapping[str, Any]) -> PretrainConfig:
    """Change settings under their dotted names.

    Args:
        config: Where to start.
        changes: Values by dotted name, in any order. ``loss.name`` chooses another loss, which
            keeps the settings that both have.

    Raises:
        SettingsError: For an unknown name, listing those there are.

    Example:
        >>> config = with_changes(PretrainConfig(), {"lr": 0.1, "augment.size": 32})
        >>> config.lr, config.augment.size
        (0.1, 32)
    """
    config, values = _choose_loss(config, changes)
    known = setting_types(config)
    for key, value in values.items():
        _check_key(key, known)
        part_name, dot, name = key.rpartition(".")
        if dot:
            part = replace(getattr(config, part_name), **{name: value})
            config = replace(config, **{part_name: part})
        else:
            config = replace(config, **{name: value})
    return config


def _check_key(key: str, known: Mapping[str, Any]) -> None:
    if key not in known:
        raise SettingsError(f"unknown setting {key!r}; there are: {', '.join(known)}")


def _choose_loss(
    config: PretrainConfig, changes: Mapping[str, Any]
) -> tuple[PretrainConfig, dict[str, Any]]:
    """Apply ``loss.name`` before all other changes: it decides which settings there are.

    Returns:
        The config with its loss, and the other changes under today's names. What 0.1 wrote under
        ``objective.`` for every loss, and the chosen one does not use, is left out.
    """
    name = changes.get("loss.name", changes.get("objective.name"))
    if name is not None:
        config = replace(config, loss=change_loss(config.loss, name))
    others: dict[str, Any] = {}
    for key, value in changes.items():
        part, dot, setting = key.partition(".")
        if not dot:
            others[OLD_NAMES.get(key, key)] = value
            continue
        if part == "objective":
            current = current_name(config.loss, setting)
            if current is None:
                continue
            key = f"loss.{current}"
        if key != "loss.name":
            others[key] = value
    return config, others
