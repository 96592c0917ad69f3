"""How linear classifiers are trained, and the named ways.

It imports no torch: the command line reads it for its help.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from downstream.task import TaskConfig, option
from zoo.utils.registry import Registry


@dataclass(frozen=True, kw_only=True)
class LinearConfig(TaskConfig):
    """Settings of the linear task.

    Attributes:
        solver: ``lbfgs``, ``sgd`` or ``svm``.
        layers: which; empty for all of the model's. Also ``pooled`` and ``embedding``.
        sweep: values to choose from on held-out training images, for each layer; one value is
            taken as it is. They are the L2 penalty λ for lbfgs, C for svm, the learning rate (per
            256 images) for sgd.
        iterations: of L-BFGS at most, per fit.
        epochs, batch_size, lr_milestones: of sgd: passes, images per step, epochs after which the
            rate is a tenth.
        momentum, nesterov, weight_decay: of sgd.
        norm: of sgd: whether a BatchNorm without weights goes before the classifier.
        crops: of sgd: whether it sees random resized crops and flips, through the frozen network,
            or kept features.
        scale: range of the crop's share of the image area.
        baselines: whether the same network with random weights is probed too, and the raw pixels
            where features are kept.
        seeds: how many runs; each with its own held-out images, first weights of the classifier
            and untrained network.
        cache: whether features are kept on disk for the next time.
    """

    solver: str = option("lbfgs", "Solver: lbfgs, sgd or svm.", hidden=True)
    layers: tuple[str, ...] = option(
        (), "Layers to probe, with commas between them; also pooled and embedding."
    )
    sweep: tuple[float, ...] = option(
        (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        "Learning rates (λ for lbfgs, C for svm) to choose from on held-out training images.",
    )
    iterations: int = option(100, "Iterations of L-BFGS at most.", hidden=True, minimum=1)
    epochs: int = option(28, "Passes over the training images, for sgd.", minimum=1)
    batch_size: int = option(256, "Images per step, for sgd.", hidden=True, minimum=2)
    lr_milestones: tuple[int, ...] = option((8, 16, 24), "Epochs of the drops.", hidden=True)
    momentum: float = option(0.9, "Momentum of sgd.", hidden=True)
    nesterov: bool = option(True, "Whether it is Nesterov's.", hidden=True)
    weight_decay: float = option(5e-4, "Weight decay of sgd.", hidden=True)
    norm: bool = option(True, "BatchNorm before the classifier.", hidden=True)
    crops: bool = option(
        True, "Whether sgd sees random crops, or kept features.", flag="--crops/--no-crops"
    )
    scale: tuple[float, float] = option(
        (0.08, 1.0), "Share of the image.", hidden=True, minimum=1e-6, maximum=1
    )
    baselines: bool = option(
        False, "Probe untrained weights and raw pixels too.", flag="--baselines"
    )
    seeds: int = option(
        1, "Runs, each with its own held-out images and untrained weights.", minimum=1
    )
    cache: bool = option(True, "Keep features on disk for the next time.")

    def faults(self) -> list[str]:
        """What is wrong with the values, a line each."""
        found = super().faults()
        least, wanted = 1e-12, "all positive"
        if self.solver == "lbfgs":
            least, wanted = 0.0, "none negative"
        if not self.sweep or min(self.sweep) < least:
            found.append(f"sweep must be one or more numbers, {wanted}, got {self.sweep}")
        if len(set(self.layers)) < len(self.layers):
            found.append(f"layers are named twice: {', '.join(self.layers)}")
        return found

    @property
    def trains_on_crops(self) -> bool:
        """Whether the classifiers see random crops instead of kept features."""
        return self.solver == "sgd" and self.crops

    @property
    def uses_features(self) -> bool:
        """Whether features of the training images are kept: not where all training is on crops."""
        return not self.trains_on_crops or len(self.sweep) > 1

    @property
    def probes_pixels(self) -> bool:
        """Whether the raw pixels are probed; crops of them are no features."""
        return self.baselines and not self.trains_on_crops

    def of_length(self, epochs: int) -> Self:
        """The same with another number of epochs; the milestones keep their share of it."""
        milestones = []
        for milestone in self.lr_milestones:
            milestones.append(max(1, round(milestone * epochs / self.epochs)))
        return replace(self, epochs=epochs, lr_milestones=tuple(milestones))

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """A copy with other values; with other epochs the milestones move along."""
        others = dict(changes)
        config = self
        if "epochs" in others and "lr_milestones" not in others:
            config = self.of_length(others.pop("epochs"))
        return replace(config, **others)


PRESETS: Registry[LinearConfig] = Registry("linear preset")

# npid linear MODEL DATA
# Logistic regression on kept features, the penalty chosen on held-out images; seconds to minutes
# on a CPU.
PRESETS.register("lbfgs")(LinearConfig())

# npid linear MODEL IMAGENET --preset imagenet
# VISSL's recipe (eval_resnet_8gpu_transfer_in1k_linear): 28 epochs of random crops. The paper's
# ResNet-50 scores 15.3/18.8/24.9/40.6/54.0 on conv1 and res2 to res5; not run by us on ImageNet.
PRESETS.register("imagenet")(LinearConfig(solver="sgd", sweep=(0.01,)))

# npid linear MODEL PLACES205 --preset places205
# VISSL's recipe (eval_resnet_8gpu_transfer_places205_linear): 14 epochs. The paper's ResNet-50:
# 18.1/22.3/29.7/42.1/45.5; not run by us on Places.
_PLACES = LinearConfig(solver="sgd", sweep=(0.01,), epochs=14, lr_milestones=(4, 8, 12))
PRESETS.register("places205")(_PLACES)

# npid linear MODEL PLACES365 --preset places365
# There is no published recipe for Places365: this is the one of Places205.
PRESETS.register("places365")(replace(_PLACES))

# npid linear MODEL IMAGENET --preset pooled
# MoCo's recipe (main_lincls.py): learning rate 30, no weight decay, 100 epochs of random crops.
PRESETS.register("pooled")(
    LinearConfig(
        solver="sgd",
        layers=("pooled",),
        sweep=(30.0,),
        epochs=100,
        lr_milestones=(60, 80),
        nesterov=False,
        weight_decay=0.0,
        norm=False,
    )
)

# npid linear MODEL DATA --preset svm
# The paper's linear SVM on the embedding (Table 1), C chosen on held-out images.
PRESETS.register("svm")(
    LinearConfig(solver="svm", layers=("embedding",), sweep=(0.01, 0.1, 1.0, 10.0, 100.0))
)
