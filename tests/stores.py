"""Stores of features, and the small model that some of them are made with."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import zoo
from downstream.features.manifest import StoreManifest
from downstream.features.store import FeatureStore
from downstream.features.store_writer import open_writer


def make_store(
    folder: Path, embeddings: Tensor, dtype: str = "float32", model_sha256: str = "0" * 64
) -> FeatureStore:
    """A store of given embeddings, in two blocks."""
    new = StoreManifest(
        model="m", model_sha256=model_sha256, input={}, dim=embeddings.shape[1], dtype=dtype
    )
    with open_writer(folder, new) as writer:
        for block in embeddings.split(len(embeddings) // 2 + 1):
            first = writer.manifest.count
            keys = [f"é/{first + i}" for i in range(len(block))]
            writer.append(block, keys, [0] * len(block), np.full(len(block), -1))
    return FeatureStore.open(folder)


def save_small_model(folder: Path, size: int = 16) -> Path:
    """A ResNet-10 of 16 dimensions with random weights."""
    torch.manual_seed(0)
    spec = zoo.InputSpec(size=size, crop_pct=1.0)
    return zoo.save(zoo.create("resnet10", embed_dim=16, input=spec).eval(), folder)
