"""What every backbone can do, whatever its family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from zoo.errors import SettingsError
from zoo.utils.registry import Registry

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a backbone expects to see.

    Attributes:
        size: side of the square input, pixels.
        crop_pct: share of the resized short side that the centre crop keeps.
        mean, std: per-channel statistics on the 0–1 scale.
    """

    size: int = 224
    crop_pct: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Backbone(nn.Module):
    """A torchvision-shaped network whose last linear layer is the projection to the embedding.

    ``forward`` gives the projection before normalisation (B×embed_dim), so that other
    libraries that load the same weights agree with it; ``embed`` gives the unit vectors of the paper.

    Attributes:
        arch: registered name.
        stem: name of the first layers' variant.
        embed_dim: dimensions of the embedding.
        input: what the network expects to see.
        meta: where the weights come from (settings, data, versions); saved in config.json under ``npid``.
    """

    arch: str
    stem: str = "imagenet"
    embed_dim: int
    input: InputSpec
    meta: dict

    stems: tuple[str, ...] = ("imagenet",)
    layers: tuple[str, ...] = ()
    first_conv: str
    projection: str  # key of the last linear layer
    timm_classifier: str | None = None  # timm's name of the projection, where timm knows the family

    def __init__(self, embed_dim: int, stem: str) -> None:
        """Subclasses build the torchvision network with ``embed_dim`` outputs and the stem asked for."""
        super().__init__()

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors on the sphere.

        Args:
            x: B×3×S×S, normalised with ``input.mean`` and ``input.std``.

        Returns:
            B×embed_dim, fp32 whatever the autocast type.
        """
        return F.normalize(self(x).float(), dim=1)

    def features(self, x: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Activations of inner layers, after their ReLU and before any pooling.

        Args:
            x: B×3×S×S.
            layers: names out of ``layers``; all by default.

        Returns:
            {layer: B×C×H×W}. Layers above the last one asked for are not computed.

        Raises:
            SettingsError: for a layer that this backbone does not have.
        """
        wanted = self.layers if layers is None else tuple(layers)
        unknown = [name for name in wanted if name not in self.layers]
        if unknown:
            raise SettingsError(
                f"{self.arch} has no layer {', '.join(unknown)}; it has {', '.join(self.layers)}"
            )
        found: dict[str, Tensor] = {}
        for name, stage in self._stages():
            if len(found) == len(set(wanted)):
                break
            for module in stage:
                x = module(x)
            if name in wanted:
                found[name] = x
        return {name: found[name] for name in wanted}

    def _stages(self) -> list[tuple[str, list[Any]]]:
        """The trunk as named stages; modules between two taps open the later stage."""
        raise NotImplementedError

    @property
    def feature_dim(self) -> int:
        """Width of the input of the projection."""
        return self.get_submodule(self.projection).in_features  # type: ignore[return-value]

    @property
    def architecture(self) -> str | None:
        """timm's name of this very network, or None where timm has none."""
        return None

    def preprocess(self, train: bool = False) -> v2.Transform:
        """The transform from an RGB image (PIL or uint8 tensor) to the 3×S×S input.

        Args:
            train: random resized crop and flip in place of resize and centre crop.
        """
        size = self.input.size
        if train:
            shape: list[nn.Module] = [
                v2.RandomResizedCrop(size, antialias=True),
                v2.RandomHorizontalFlip(),
            ]
        else:
            shape = [
                v2.Resize(round(size / self.input.crop_pct), antialias=True),
                v2.CenterCrop(size),
            ]
        to_float = [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(self.input.mean), list(self.input.std)),
        ]
        return v2.Compose([v2.ToImage(), *shape, *to_float])


BACKBONES: Registry[type[Backbone]] = Registry("backbone")
