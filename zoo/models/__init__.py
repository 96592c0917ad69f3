"""Backbones: one file per family, one registration per network."""

from zoo.errors import SettingsError
from zoo.models import plain, resnet  # noqa: F401  registers them
from zoo.models.backbone import BACKBONES, IMAGENET_MEAN, IMAGENET_STD, Backbone, InputSpec

__all__ = [
    "BACKBONES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Backbone",
    "InputSpec",
    "create",
    "list_backbones",
]


def create(
    arch: str, *, embed_dim: int = 128, stem: str | None = None, input: InputSpec | None = None
) -> Backbone:
    """A new backbone with random weights.

    Args:
        arch: a registered name (:func:`list_backbones`).
        embed_dim: dimensions of the embedding.
        stem: ``imagenet``; ResNets also ``cifar`` (3×3, no max-pool) and ``small`` (3×3 with stride 2, no max-pool).
            By default the family's own: ``small`` for resnet10, ``imagenet`` for all others.
        input: size and statistics of the images; by default 224 and ImageNet's, or 32 for the small stems.

    Raises:
        SettingsError: for an unknown backbone or stem, or an embed_dim below 1.
    """
    family = BACKBONES[arch]
    stem = stem or family.stem
    if stem not in family.stems:
        raise SettingsError(f"{arch} has no stem {stem!r}; there are: {', '.join(family.stems)}")
    if embed_dim < 1:
        raise SettingsError(f"embed_dim must be at least 1, got {embed_dim}")
    model = family(embed_dim, stem)
    small = InputSpec(size=32, crop_pct=1.0)
    model.arch, model.stem, model.embed_dim, model.meta = arch, stem, embed_dim, {}
    model.input = input or (InputSpec() if stem == "imagenet" else small)
    return model


def list_backbones() -> list[str]:
    """Names that :func:`create` knows."""
    return list(BACKBONES)
