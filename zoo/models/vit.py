"""Vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929): torchvision's class and keys.

The small sizes are those of DeiT (Touvron et al. 2021, arXiv 2012.12877).
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import Encoder, VisionTransformer

from zoo.errors import SettingsError
from zoo.models.backbone import BACKBONES, POOLED, Backbone, FeatureInfo, InputSpec, TrunkAndHead

_DEPTH = 12
_TAPS = (3, 6, 9, 12)  # blocks whose maps can be had
# the least input, in pixels, for which patches of a size are chosen; 4×4 of them are left
_LEAST_INPUT = {"patch16": 128, "patch8": 64, "patch4": 16}


class ViT(Backbone, VisionTransformer):
    """What the sizes have in common: twelve blocks, a class token, a projection on top of it.

    The stem is the side of the patches. The position embedding is made for one input size.

    Attributes:
        width: of the tokens.
        heads_per_block: attention heads in each block.
    """

    stems = {"patch16": 16, "patch8": 8, "patch4": 4, "patch2": 2}
    first_conv = "conv_proj"
    projection = "heads.head"
    takes_any_size = False
    width: ClassVar[int]
    heads_per_block: ClassVar[int]

    class_token: nn.Parameter
    encoder: Encoder

    def __init__(self, embed_dim: int, stem: str, input: InputSpec) -> None:
        patch = self.stems[stem]
        if input.size % patch != 0:
            raise SettingsError(
                f"an input of {input.size} pixels cannot be cut into patches of {patch}; take a "
                f"multiple of {patch}, or another stem: {', '.join(self.stems)}"
            )
        super().__init__(
            embed_dim,
            stem,
            input,
            image_size=input.size,
            patch_size=patch,
            num_layers=_DEPTH,
            num_heads=self.heads_per_block,
            hidden_dim=self.width,
            mlp_dim=4 * self.width,
            num_classes=embed_dim,
        )
        projection = self.get_submodule(self.projection)
        assert isinstance(projection, nn.Linear)
        projection.reset_parameters()  # torchvision's zeros have no direction on the sphere

    @classmethod
    def default_stem(cls, input: InputSpec | None) -> str:
        """Patches of 16 from 128 pixels on, of 8 from 64, of 4 from 16; the smallest below."""
        if input is None:
            return "patch16"
        for stem, least in _LEAST_INPUT.items():
            if input.size >= least and input.size % cls.stems[stem] == 0:
                return stem
        return "patch2"

    @classmethod
    def default_input(cls, stem: str) -> InputSpec:
        """224 pixels for patches of 16, else 8×8 patches."""
        if stem == "patch16":
            return InputSpec()
        return InputSpec(size=8 * cls.stems[stem], crop_pct=1.0)

    @property
    def feature_info(self) -> list[FeatureInfo]:
        """Every third block; all have the width of the tokens and one position per patch."""
        patch = self.stems[self.stem]
        return [FeatureInfo(f"block{number}", self.width, patch) for number in _TAPS]

    def forward(self, images: Tensor) -> Tensor:
        """Project images: B×3×S×S → B×embed_dim."""
        projected: Tensor = VisionTransformer.forward(self, images)
        return projected

    def forward_intermediates(
        self, images: Tensor, layers: Sequence[str]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the patches' tokens as maps, as :meth:`Backbone.forward_intermediates` says.

        They are what the next block reads, before its norm. ``"pooled"`` is the class token after
        the last norm.
        """
        remaining = set(layers)
        if not remaining:
            return
        patches = VisionTransformer._process_input(self, images)
        class_tokens = self.class_token.expand(len(images), -1, -1)
        tokens = torch.cat([class_tokens, patches], dim=1) + self.encoder.pos_embedding
        tokens = self.encoder.dropout(tokens)
        for number, block in enumerate(self.encoder.layers, start=1):
            tokens = block(tokens)
            name = f"block{number}"
            if name in remaining:
                remaining.remove(name)
                yield name, self._as_maps(tokens)
                if not remaining:
                    return
        yield POOLED, self.encoder.ln(tokens)[:, 0]

    def _as_maps(self, tokens: Tensor) -> Tensor:
        """The patches' tokens (B×(1+HW)×C, the class token first) as B×C×H×W."""
        side = self.input.size // self.stems[self.stem]
        maps: Tensor = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        return maps

    def trunk_and_head(self) -> TrunkAndHead:
        """Refuse: no part of a vision transformer reads the maps of a region.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(
            f"{self.arch} cannot be cut into a trunk and a head for detection: its blocks see all "
            f"patches of a {self.input.size}-pixel image at once; take a ResNet, AlexNet or VGG16"
        )


@BACKBONES.register("vit_tiny")
class ViTTiny(ViT):
    """5.5 million weights with patches of 16."""

    width = 192
    heads_per_block = 3


@BACKBONES.register("vit_small")
class ViTSmall(ViT):
    """21.7 million weights with patches of 16."""

    width = 384
    heads_per_block = 6
