"""Settings that have a name.

Each header gives the command, how long it takes and what to expect.
"""

from pretrain.config import PretrainConfig
from pretrain.losses.exact import ExactConfig
from pretrain.losses.infonce import InfoNCEConfig
from zoo.data.augment import Augmentation
from zoo.utils.registry import Registry

PRESETS: Registry[PretrainConfig] = Registry("preset")

_CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
_CIFAR_STD = (0.2470, 0.2435, 0.2616)

# npid pretrain IMAGENET --out runs/imagenet --preset paper-imagenet
# The paper's recipe as the authors' code has it, with the exact softmax in place of NCE (--loss nce
# for theirs). The paper reports a kNN top-1 of 46.5 for ResNet-50; not trained by us yet.
PRESETS.register("paper-imagenet")(PretrainConfig(decay_all=True))

# npid pretrain cifar10 --out runs/cifar10 --preset paper-cifar10
# The authors' CIFAR-10 recipe: no flip, exact softmax, τ=0.1. The paper reports a kNN top-1 of
# 80.8; not trained by us yet: it needs a GPU.
PRESETS.register("paper-cifar10")(
    PretrainConfig(
        backbone="resnet18",
        stem="cifar",
        mean=_CIFAR_MEAN,
        std=_CIFAR_STD,
        loss=ExactConfig(temperature=0.1),
        batch_size=128,
        weight_decay=5e-4,
        decay_all=True,
        augment=Augmentation(size=32, flip=0.0),
    )
)

# npid pretrain cifar10 --out runs/small --preset cifar10-cpu
# 13 minutes on two CPU cores: kNN top-1 65.0 on the test images (65.6 in another run; raw pixels
# 42.3, untrained 28.1 by the bank). With --epochs 80: 69.8, the bundled npid-cifar10-small.
# Measured with `npid knn` on a JPEG copy of CIFAR-10; docs/results.md.
PRESETS.register("cifar10-cpu")(
    PretrainConfig(
        backbone="resnet10",
        mean=_CIFAR_MEAN,
        std=_CIFAR_STD,
        loss=InfoNCEConfig(shared=True, rescale_negatives=True, temperature=0.07),
        bank_dtype="bfloat16",
        bank_init="features",
        epochs=30,
        batch_size=128,
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine",
        augment=Augmentation(
            size=32,
            scale=(0.3, 1.0),
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            hue=0.1,
            grayscale=0.1,
        ),
    )
)

# npid pretrain digits --out runs/digits --preset digits
# Half a minute on two CPU cores: kNN top-1 about 97 (untrained 40). `npid demo` does this.
PRESETS.register("digits")(
    PretrainConfig(
        backbone="resnet10",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        loss=ExactConfig(temperature=0.1),
        bank_init="features",
        epochs=60,
        batch_size=64,
        lr=0.05,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine",
        augment=Augmentation(
            size=16,
            scale=(0.5, 1.0),
            flip=0.0,
            brightness=0.4,
            contrast=0.4,
            saturation=0.0,
            hue=0.0,
            grayscale=0.0,
        ),
    )
)
