"""Weighted k-nearest-neighbour classification as a task (Wu et al. 2018, section 3.4)."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from downstream.task import (
    OnProgress,
    Task,
    TaskConfig,
    TaskInputs,
    count_images,
    option,
    register_task,
)
from zoo.errors import DataError, SettingsError
from zoo.results import Results
from zoo.utils.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.source import Source


@dataclass(frozen=True, kw_only=True)
class KnnConfig(TaskConfig):
    """How the neighbours vote.

    Attributes:
        k: neighbours that vote.
        temperature: τ of the weights exp(cos/τ).
        batch_size: images embedded at a time.
        cache: whether embeddings are kept on disk for the next time.
    """

    k: int = option(200, "Neighbours that vote.", minimum=1)
    temperature: float = option(0.07, "Temperature τ of their weights exp(cos/τ).")
    batch_size: int = option(256, "Images embedded at a time.", hidden=True, minimum=1)
    cache: bool = option(True, "Keep embeddings on disk for the next time.")

    def faults(self) -> list[str]:
        """What is wrong with the values, a line each."""
        found = super().faults()
        if not self.temperature > 0:
            found.append(f"temperature must be positive, got {self.temperature}")
        return found


PRESETS: Registry[KnnConfig] = Registry("kNN preset")
PRESETS.register("paper")(KnnConfig())


@register_task
class Knn(Task[KnnConfig]):
    """Embed both splits and let the training images vote on the test images.

    Metrics: ``top1``, 0–1.
    """

    name: ClassVar[str] = "knn"
    title: ClassVar[str] = "kNN"
    help: ClassVar[str] = (
        "Score a model by a weighted vote of the nearest training images; nothing is trained."
    )
    hub_task_type: ClassVar[str] = "image-classification"
    Config = KnnConfig
    presets = PRESETS
    default_preset: ClassVar[str] = "paper"

    def num_images(self, inputs: TaskInputs, config: KnnConfig) -> int:
        """Both splits are embedded."""
        return len(inputs.train) + len(inputs.test)

    def headline(self, inputs: TaskInputs, config: KnnConfig) -> str:
        """The line above the table."""
        vote = f"k={config.k}, τ={config.temperature}"
        return f"kNN of {inputs.model_name} on {inputs.data}: {vote}"

    def run(
        self, inputs: TaskInputs, config: KnnConfig, on_progress: OnProgress | None = None
    ) -> Results:
        """Embed both splits and vote."""
        import torch

        from downstream.voting import weighted_knn

        began = time.monotonic()
        config.check()
        train_labels, classes = inputs.train.require_labels()
        test_labels, _ = inputs.test.require_labels()
        if config.k > len(inputs.train):
            raise SettingsError(
                f"k={config.k} is larger than the {len(inputs.train)} training images of "
                f"{inputs.data}; lower --k"
            )
        rows, kept = self._embed(inputs, inputs.train, config, on_progress)
        queries, readable = self._embed(inputs, inputs.test, config, on_progress)
        if not readable.any():
            raise DataError(
                f"{inputs.data}: none of the {len(inputs.test)} test images could be read"
            )
        predicted = weighted_knn(
            rows[kept],
            torch.from_numpy(train_labels)[kept],
            queries[readable],
            k=config.k,
            temperature=config.temperature,
            num_classes=len(classes),
        )
        correct = predicted == torch.from_numpy(test_labels)[readable]
        return self.results(
            inputs,
            config,
            split_sizes={"train": int(kept.sum()), "test": int(readable.sum())},
            metrics={"top1": correct.float().mean().item()},
            seconds=time.monotonic() - began,
        )

    def _embed(
        self,
        inputs: TaskInputs,
        source: "Source",
        config: KnnConfig,
        on_progress: OnProgress | None,
    ) -> tuple["Tensor", "Tensor"]:
        """N×D unit vectors of a split, and N bools: whether each image could be read."""
        from downstream.features.layers import layer_features

        features = layer_features(
            inputs.model,
            source,
            ["embedding"],
            sha256=inputs.model_sha256 if config.cache else None,
            batch_size=config.batch_size,
            device=config.device,
            workers=config.workers,
            on_progress=count_images(on_progress, f"{source.split} images"),
        )
        return features["embedding"], features["good"]
