"""What every backbone can do, whatever its family."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from zoo.errors import SettingsError
from zoo.utils.registry import Registry

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
POOLED = "pooled"  # what the projection reads, among the names that forward_intermediates takes


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a backbone expects to see.

    Attributes:
        size: side of the square input, pixels.
        crop_pct: share of the resized short side that the centre crop keeps.
        mean: of each channel, on the 0–1 scale.
        std: of each channel, on the 0–1 scale.
    """

    size: int = 224
    crop_pct: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True)
class FeatureInfo:
    """One layer whose maps a backbone gives, in timm's words.

    Attributes:
        name: of the layer.
        channels: of its maps.
        reduction: pixels of the input per position of the map, along a side: the stride.
    """

    name: str
    channels: int
    reduction: int


@dataclass(frozen=True)
class Stage:
    """The modules between one layer and the next.

    Attributes:
        name: of the layer whose maps the last module gives.
        modules: to be run one after the other on the maps of the layer below, or on the images.
    """

    name: str
    modules: Sequence[nn.Module]


@dataclass(frozen=True, kw_only=True)
class TrunkAndHead:
    """A backbone cut as detectors cut it: maps of whole images below, one vector per region above.

    The modules are the backbone's own, not copies.

    Attributes:
        stages: from the images to each layer, lowest first.
        head_input: the layer whose maps, cut to regions, the head reads.
        head: from R×C×P×P regions to R×F×P'×P' maps, which are averaged, or to R×F vectors. F is
            the backbone's ``feature_dim``, and the tensors have the names that they have in the
            backbone.
        head_resolution: P, where the head is made for one; None where it takes any.
    """

    stages: Sequence[Stage]
    head_input: str
    head: nn.Module
    head_resolution: int | None = None


class Backbone(nn.Module, ABC):
    """A torchvision-shaped network whose last linear layer is the projection to the embedding.

    ``forward`` gives the projection before normalisation (B×embed_dim), so that other libraries
    that load the same weights agree with it; ``embed`` gives the unit vectors of the paper.

    A family sets the class attributes, calls ``__init__`` with the arguments of the torchvision
    class that it also inherits from, and defines the abstract methods.

    Attributes:
        arch: registered name.
        stem: name of the first layers' variant.
        embed_dim: dimensions of the embedding.
        input: what the network expects to see.
        meta: where the weights come from (settings, data, versions); saved in config.json under
            ``npid``.
        stems: the variants of the first layers, each with the side of its first convolution's
            kernel; the first one is the default.
        first_conv: name of the first convolution.
        projection: name of the last linear layer.
        timm_classifier: timm's name of the projection; None where timm does not have the family.
        takes_any_size: whether images of another size than ``input.size`` can be run.
    """

    arch: str
    stem: str
    embed_dim: int
    input: InputSpec
    meta: dict[str, Any]

    stems: ClassVar[Mapping[str, int]]
    first_conv: ClassVar[str]
    projection: ClassVar[str]
    timm_classifier: ClassVar[str | None] = None
    takes_any_size: ClassVar[bool] = True

    def __init__(self, embed_dim: int, stem: str, input: InputSpec, **network: Any) -> None:
        """Build the network with random weights.

        Args:
            embed_dim: outputs of the projection.
            stem: a name out of ``stems``.
            input: what the network will see. Only families whose parameters depend on the number of
                positions, such as vision transformers, look at its size.
            **network: arguments of the torchvision class that a family inherits from too.
        """
        super().__init__(**network)
        self.embed_dim = embed_dim
        self.stem = stem
        self.input = input
        self.meta = {}

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Project images, without normalising the result.

        Args:
            images: B×3×S×S, normalised with ``input.mean`` and ``input.std``.

        Returns:
            B×embed_dim.
        """

    @property
    @abstractmethod
    def feature_info(self) -> list[FeatureInfo]:
        """The layers whose maps can be had, lowest first; no data is run to know them."""

    @abstractmethod
    def forward_intermediates(
        self, images: Tensor, layers: Sequence[str]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield inner activations in one forward pass, each as soon as it is known.

        Nothing above the last one requested is computed, and the caller decides how long a map
        is kept. :meth:`features` is the plain way to the same maps.

        Args:
            images: B×3×S×S, normalised.
            layers: names out of ``layers``, and ``"pooled"`` for what the projection reads.

        Yields:
            Name and B×C×H×W maps after the layer's activation, lowest layer first; for
            ``"pooled"``, which comes last, B×feature_dim.
        """

    @abstractmethod
    def trunk_and_head(self) -> TrunkAndHead:
        """Cut the network as detectors do.

        Raises:
            SettingsError: for a network that cannot be cut.
        """

    @classmethod
    def default_stem(cls, input: InputSpec | None) -> str:
        """The stem where none is requested, for this input or, if None, for the family's own."""
        return next(iter(cls.stems))

    @classmethod
    def default_input(cls, stem: str) -> InputSpec:
        """The input where none is given: 224 pixels, or 32 for the stems made for small images."""
        return InputSpec() if stem == "imagenet" else InputSpec(size=32, crop_pct=1.0)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose maps :meth:`features` gives, lowest first."""
        return tuple(info.name for info in self.feature_info)

    @property
    def feature_dim(self) -> int:
        """Width of what the projection reads."""
        projection = self.get_submodule(self.projection)
        assert isinstance(projection, nn.Linear)
        return projection.in_features

    @property
    def timm_name(self) -> str | None:
        """The name of this very network in timm, or None where timm has none."""
        return None

    @property
    def transformers_compatible(self) -> bool:
        """Whether transformers loads every weight; it was tried for the families that say so."""
        return False

    @property
    def detectron2_compatible(self) -> bool:
        """Whether detectron2's own ResNet can hold the weights."""
        return False

    def project(self, pooled: Tensor) -> Tensor:
        """Project what :meth:`forward_intermediates` gives as ``"pooled"``.

        Args:
            pooled: B×feature_dim.

        Returns:
            B×embed_dim: what ``forward`` gives for the same images.
        """
        projected: Tensor = self.get_submodule(self.projection)(pooled)
        return projected

    def embed(self, images: Tensor) -> Tensor:
        """Embed images as unit vectors on the sphere.

        Args:
            images: B×3×S×S, normalised with ``input.mean`` and ``input.std``.

        Returns:
            B×embed_dim, fp32 whatever the autocast type.
        """
        return F.normalize(self(images).float(), dim=1)

    def features(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Compute the maps of inner layers, after their activation and before any pooling.

        Args:
            images: B×3×S×S, normalised.
            layers: names out of ``layers``; all by default.

        Returns:
            {layer: B×C×H×W}. Layers above the last one requested are not computed.

        Raises:
            SettingsError: for a layer that this backbone does not have.
        """
        requested = self.layers if layers is None else tuple(layers)
        unknown = [name for name in requested if name not in self.layers]
        if unknown:
            raise SettingsError(
                f"{self.arch} has no layer {', '.join(unknown)}; it has {', '.join(self.layers)}"
            )
        maps = dict(self.forward_intermediates(images, requested))
        return {name: maps[name] for name in requested}

    def preprocess(self, train: bool = False) -> v2.Transform:
        """Make the transform from an RGB image (PIL or uint8 tensor) to the 3×S×S input.

        Args:
            train: random resized crop and flip in place of resize and centre crop.
        """
        size = self.input.size
        if train:
            crop: list[nn.Module] = [
                v2.RandomResizedCrop(size, antialias=True),
                v2.RandomHorizontalFlip(),
            ]
        else:
            crop = [
                v2.Resize(round(size / self.input.crop_pct), antialias=True),
                v2.CenterCrop(size),
            ]
        to_float = [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(self.input.mean), list(self.input.std)),
        ]
        return v2.Compose([v2.ToImage(), *crop, *to_float])


BACKBONES: Registry[type[Backbone]] = Registry("backbone")
