"""Backbones: one file per family, one registration per network."""

from zoo.models import alexnet, resnet, vgg, vit  # noqa: F401  registers them
from zoo.models.backbone import (
    BACKBONES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    FeatureInfo,
    InputSpec,
    Stage,
    TrunkAndHead,
)
from zoo.models.factory import create, list_backbones

__all__ = [
    "BACKBONES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Backbone",
    "FeatureInfo",
    "InputSpec",
    "Stage",
    "TrunkAndHead",
    "create",
    "list_backbones",
]
