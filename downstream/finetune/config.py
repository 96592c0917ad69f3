"""How a model is fine-tuned, and the named ways.

It imports no torch: the command line reads it for its help.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from downstream.task import TaskConfig, option
from zoo.utils.registry import Registry


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TaskConfig):
    """Settings of fine-tuning.

    The defaults are the paper's: 70 epochs, learning rate 0.01, a tenth of it after each 30.

    Attributes:
        labels: parts of the training labels: ``1%``, ``5`` (images per class), or a file that
            lists images.
        seeds: how many runs per part, each with a subset of its own.
        scratch: whether the same network from random weights is trained too.
        epochs, batch_size: of training.
        layers: whose maps the classifier sees, side by side; none for what the projection saw.
        least_steps: where the epochs give fewer steps, there are more epochs (the milestones move
            with them).
        lr: of the backbone.
        head_lr: how many times that the new classifier learns with.
        lr_milestones: epochs after which both are divided by ten.
        momentum, weight_decay: of SGD.
        scale: range of the random crop's share of the image area.
        flip: probability of a horizontal flip.
        lists: a folder for the subsets, one text file of image keys each, that ``labels`` takes
            again; None to write none.
    """

    labels: tuple[str, ...] = option(
        ("1%", "2%", "4%", "10%", "20%"),
        "Parts of the labels, with commas between them: 1%, 5 (images per class), a list's file.",
    )
    seeds: int = option(1, "Runs per part, each with its own subset.", minimum=1)
    scratch: bool = option(True, "Train the same network from random weights too.")
    epochs: int = option(70, "Passes over the images; least steps are dropped.", minimum=1)
    batch_size: int = option(256, "Images per step.", hidden=True, minimum=2)
    layers: tuple[str, ...] = option((), "Layers that the classifier sees.", hidden=True)
    least_steps: int = option(
        0, "Steps at least: small parts are repeated until there are as many.", minimum=0
    )
    lr: float = option(0.01, "Learning rate of the backbone.")
    head_lr: float = option(1.0, "Learning rate of the classifier, as a multiple of --lr.")
    lr_milestones: tuple[int, ...] = option((30, 60), "Epochs of the drops.", hidden=True)
    momentum: float = option(0.9, "Momentum of SGD.", hidden=True)
    weight_decay: float = option(1e-4, "Weight decay of SGD.", hidden=True)
    scale: tuple[float, float] = option(
        (0.2, 1.0), "Share of the image.", hidden=True, minimum=1e-6, maximum=1
    )
    flip: float = option(0.5, "Probability of a flip.", hidden=True, minimum=0, maximum=1)
    lists: Path | None = option(None, "Write the subsets here.", metavar="DIR", recorded=False)

    def faults(self) -> list[str]:
        """What is wrong with the values, a line each."""
        found = super().faults()
        if not self.labels:
            found.append("labels must name one part or more, as 1%,10%")
        if len(set(self.labels)) < len(self.labels):
            found.append(f"labels are named twice: {', '.join(self.labels)}")
        if self.lr <= 0:
            found.append(f"lr must be positive, got {self.lr}")
        if self.head_lr <= 0:
            found.append(f"head_lr must be positive, got {self.head_lr}")
        return found

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """A copy with other values; who names the epochs gets them, however few steps they are."""
        others = dict(changes)
        if "epochs" in others:
            others.setdefault("least_steps", 0)
        return replace(self, **others)


PRESETS: Registry[FinetuneConfig] = Registry("fine-tuning preset")
PRESETS.register("paper")(FinetuneConfig())
# small images and few of them: small batches, and no fewer than 1 500 steps for the smallest
# part either
PRESETS.register("small")(
    FinetuneConfig(
        epochs=30,
        batch_size=64,
        least_steps=1500,
        lr=0.02,
        head_lr=5.0,
        lr_milestones=(18, 26),
        weight_decay=5e-4,
    )
)
# a handful of labels a class: the classifier sees several layers, and little is drawn at random
PRESETS.register("few")(
    FinetuneConfig(
        labels=("1", "5", "10"),
        seeds=3,
        epochs=10,
        batch_size=64,
        layers=("res3", "res4", "res5"),
        least_steps=60,
        lr=0.02,
        lr_milestones=(6, 9),
        weight_decay=5e-4,
        scale=(0.8, 1.0),
        flip=0.0,
    )
)
