"""How linear classifiers are trained, and the named ways."""

from dataclasses import dataclass, replace

from zoo import SettingsError
from zoo.utils.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Attributes:
        solver: ``lbfgs``, ``sgd`` or ``svm``.
        layers: which; empty for all of the model's. Also ``pooled`` and ``embedding``.
        sweep: values to choose from on held-out training images, for each layer; one value is taken as it is. They are
            the L2 penalty λ for lbfgs, C for svm, the learning rate (per 256 images) for sgd.
        iterations: of L-BFGS at most, per fit.
        epochs, batch, drops: of sgd: passes, images per step, epochs after which the rate is a tenth.
        momentum, nesterov, weight_decay: of sgd.
        norm: of sgd: whether a BatchNorm without weights goes before the classifier.
        crops: of sgd: whether it sees random resized crops and flips, through the frozen network, or kept features.
        scale: range of the crop's share of the image area.
        untrained: whether the same network with random weights is probed too.
        pixels: whether the raw pixels are probed too.
        seeds: how many runs; each with its own held-out images, first weights of the classifier and untrained network.
        seed: of the first run.
        device, workers: where and how.
        skip_bad: whether unreadable images are left out.
        cache: whether features are kept on disk for the next time.
    """

    solver: str = "lbfgs"
    layers: tuple[str, ...] = ()
    sweep: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    iterations: int = 100
    epochs: int = 28
    batch: int = 256
    drops: tuple[int, ...] = (8, 16, 24)
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    norm: bool = True
    crops: bool = True
    scale: tuple[float, float] = (0.08, 1.0)
    untrained: bool = False
    pixels: bool = False
    seeds: int = 1
    seed: int = 0
    device: str = "cpu"
    workers: int = 0
    skip_bad: bool = False
    cache: bool = True

    def check(self) -> None:
        """
        Raises:
            SettingsError: listing every value that is out of range.
        """
        least = 0.0 if self.solver == "lbfgs" else 1e-12
        wanted = "all positive" if least else "none negative"
        faults = {
            f"sweep must be one or more numbers, {wanted}, got {self.sweep}": (
                not self.sweep or min(self.sweep) < least
            ),
            f"layers are named twice: {', '.join(self.layers)}": len(set(self.layers))
            < len(self.layers),
            f"seeds must be at least 1, got {self.seeds}": self.seeds < 1,
            f"epochs must be at least 1, got {self.epochs}": self.epochs < 1,
            f"batch must be at least 2, got {self.batch}": self.batch < 2,
            "raw pixels are probed on kept features: choose lbfgs, svm or --no-crops": (
                self.pixels and self.solver == "sgd" and self.crops
            ),
        }
        if found := [message for message, wrong in faults.items() if wrong]:
            raise SettingsError("; ".join(found))

    @property
    def uses_rows(self) -> bool:
        """Whether features of the training images are extracted: not where all training is on crops."""
        return self.solver != "sgd" or not self.crops or len(self.sweep) > 1

    def of_length(self, epochs: int) -> "Settings":
        """The same with another number of epochs; the drops keep their share of it."""
        drops = tuple(max(1, round(drop * epochs / self.epochs)) for drop in self.drops)
        return replace(self, epochs=epochs, drops=drops)


PRESETS: Registry[Settings] = Registry("linear preset")

# npid linear MODEL DATA
# Logistic regression on kept features, the penalty chosen on held-out images; seconds to minutes on a CPU.
PRESETS.register("lbfgs")(Settings())

# npid linear MODEL IMAGENET --preset imagenet
# VISSL's recipe (eval_resnet_8gpu_transfer_in1k_linear): 28 epochs of random crops. The paper's ResNet-50 scores
# 15.3/18.8/24.9/40.6/54.0 on conv1 and res2 to res5; not run by us on ImageNet.
PRESETS.register("imagenet")(Settings(solver="sgd", sweep=(0.01,)))

# npid linear MODEL PLACES205 --preset places205
# VISSL's recipe (eval_resnet_8gpu_transfer_places205_linear): 14 epochs. The paper's ResNet-50:
# 18.1/22.3/29.7/42.1/45.5; not run by us on Places.
_PLACES = Settings(solver="sgd", sweep=(0.01,), epochs=14, drops=(4, 8, 12))
PRESETS.register("places205")(_PLACES)

# npid linear MODEL PLACES365 --preset places365
# There is no published recipe for Places365: this is the one of Places205.
PRESETS.register("places365")(replace(_PLACES))

# npid linear MODEL IMAGENET --preset pooled
# MoCo's recipe (main_lincls.py): learning rate 30, no weight decay, 100 epochs of random crops.
PRESETS.register("pooled")(
    Settings(
        solver="sgd",
        layers=("pooled",),
        sweep=(30.0,),
        epochs=100,
        drops=(60, 80),
        nesterov=False,
        weight_decay=0.0,
        norm=False,
    )
)

# npid linear MODEL DATA --preset svm
# The paper's linear SVM on the embedding (Table 1), C chosen on held-out images.
PRESETS.register("svm")(
    Settings(solver="svm", layers=("embedding",), sweep=(0.01, 0.1, 1.0, 10.0, 100.0))
)
