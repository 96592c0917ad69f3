"""AlexNet: torchvision's, the "one weird trick" variant (Krizhevsky 2014, arXiv 1404.5997)."""

from torchvision.models.alexnet import AlexNet as TorchvisionAlexNet

from zoo.models.backbone import BACKBONES, InputSpec
from zoo.models.staged import SequentialBackbone


@BACKBONES.register("alexnet")
class AlexNet(SequentialBackbone, TorchvisionAlexNet):
    """Five convolutions and three fully connected layers; no batch norm."""

    stems = {"imagenet": 11}
    stage_ends = (2, 5, 8, 10, 12)
    head_resolution = 6

    def __init__(self, embed_dim: int, stem: str, input: InputSpec) -> None:
        super().__init__(embed_dim, stem, input, num_classes=embed_dim)
