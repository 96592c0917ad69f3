"""VGG16 (Simonyan & Zisserman 2015, arXiv 1409.1556), configuration D: torchvision's."""

from torchvision.models import vgg

from zoo.models.backbone import BACKBONES, InputSpec
from zoo.models.staged import SequentialBackbone


@BACKBONES.register("vgg16")
class VGG16(SequentialBackbone, vgg.VGG):
    """Thirteen 3×3 convolutions in five groups, and three fully connected layers; no batch norm."""

    stems = {"imagenet": 3}
    stage_ends = (4, 9, 16, 23, 30)
    head_resolution = 7
    timm_classifier = "head.fc"

    def __init__(self, embed_dim: int, stem: str, input: InputSpec) -> None:
        trunk = vgg.make_layers(vgg.cfgs["D"])
        super().__init__(embed_dim, stem, input, features=trunk, num_classes=embed_dim)

    @property
    def timm_name(self) -> str | None:
        """The same name in timm.

        timm's own loader renames fc6 and fc7. What transformers wraps around it does not, and
        leaves them random: the family is not ``transformers_compatible``.
        """
        return self.arch
