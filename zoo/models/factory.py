"""New backbones by their registered names."""

from zoo.errors import SettingsError
from zoo.models.backbone import BACKBONES, Backbone, InputSpec


def create(
    arch: str, *, embed_dim: int = 128, stem: str | None = None, input: InputSpec | None = None
) -> Backbone:
    """Create a backbone with random weights.

    Args:
        arch: a registered name (:func:`list_backbones`).
        embed_dim: dimensions of the embedding.
        stem: ``imagenet``; ResNets also ``cifar`` (3×3, no max-pool) and ``small`` (3×3 with
            stride 2, no max-pool). By default the family's own: ``small`` for resnet10,
            ``imagenet`` for AlexNet, VGG16 and all other ResNets.
        input: size and statistics of the images; by default 224 pixels and ImageNet's statistics,
            or 32 pixels for the small stems.

    Raises:
        SettingsError: for an unknown backbone or stem, or an embed_dim below 1.

    Example:
        >>> import zoo
        >>> model = zoo.create("resnet10", embed_dim=16)
        >>> model.stem, model.input.size, model.layers
        ('small', 32, ('conv1', 'res2', 'res3', 'res4', 'res5'))
    """
    family = BACKBONES[arch]
    if stem is None:
        stem = family.default_stem(input)
    if stem not in family.stems:
        raise SettingsError(f"{arch} has no stem {stem!r}; there are: {', '.join(family.stems)}")
    if embed_dim < 1:
        raise SettingsError(f"embed_dim must be at least 1, got {embed_dim}")
    model = family(embed_dim, stem, input or family.default_input(stem))
    model.arch = arch
    return model


def list_backbones() -> list[str]:
    """List the names that :func:`create` knows."""
    return list(BACKBONES)
