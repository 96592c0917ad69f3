r"""Which settings raise the kNN score at an equal budget.

    python benchmarks/ablation.py CIFAR10 --json ablation.json [--images 20000] [--epochs 8] \
        [--seeds 1] [--only …]

Every row changes one thing in the preset ``cifar10-cpu``; ``paper`` is the paper's recipe (preset
``paper-cifar10``) on the same backbone, with its drops moved to the same share of the epochs. All
see equally many images: two crops of an image count as two. Scored on 5 000 held-out training
images by the kNN vote; the test split is not touched. Results are kept in the JSON file as they
come, and the table is made of what is there."""

from dataclasses import replace

from torch import Tensor, nn
from training import Record, Scores, parser, splits, spread, train

from pretrain import PRESETS, PretrainConfig, override
from zoo.models import BACKBONES, InputSpec
from zoo.models.resnet import ResNet10

BASE: dict[str, str] = {}
ROWS: dict[str, dict[str, str]] = {
    "paper": {},
    "base": {},
    "exact": {"loss.name": "exact"},
    "nce 4096": {"loss.name": "nce", "loss.z": "ema"},
    "τ 0.05": {"loss.temperature": "0.05"},
    "τ 0.1": {"loss.temperature": "0.1"},
    "τ 0.15": {"loss.temperature": "0.15"},
    "bank momentum 0": {"bank_momentum": "0"},
    "bank momentum 0.75": {"bank_momentum": "0.75"},
    "proximal 1": {"loss.proximal": "1"},
    "proximal 10": {"loss.proximal": "10"},
    "bank from noise": {"bank_init": "random"},
    "scale 0.2": {"augment.scale": "0.2,1"},
    "scale 0.4": {"augment.scale": "0.4,1"},
    "jitter 0.4": {
        "augment.brightness": "0.4",
        "augment.contrast": "0.4",
        "augment.saturation": "0.4",
    },
    "grayscale 0.2": {"augment.grayscale": "0.2"},
    "scale 0.2, jitter 0.4, grayscale 0.2": {
        "augment.scale": "0.2,1",
        "augment.brightness": "0.4",
        "augment.contrast": "0.4",
        "augment.saturation": "0.4",
        "augment.grayscale": "0.2",
    },
    "no flip": {"augment.flip": "0"},
    "step schedule": {"schedule": "step"},
    "lr 0.05": {"lr": "0.05"},
    "lr 0.2": {"lr": "0.2"},
    "batch 64": {"batch_size": "64", "lr": "0.05"},
    "batch 256": {"batch_size": "256", "lr": "0.2"},
    "weight decay 1e-4": {"weight_decay": "1e-4"},
    "weight decay 1e-3": {"weight_decay": "1e-3"},
    "MLP projection": {"backbone": "resnet10-mlp"},
}


@BACKBONES.register("resnet10-mlp")
class WithMlp(ResNet10):
    """The projection with a hidden layer, as SimCLR and MoCo v2 have it."""

    projection = "fc.2"

    def __init__(self, embed_dim: int, stem: str, input: InputSpec) -> None:
        super().__init__(embed_dim, stem, input)
        wide = self.widths[-1]
        self.fc = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, embed_dim))

    def pool(self, maps: Tensor) -> Tensor:
        """Average the maps and pass them through the hidden layer."""
        return self.fc[:-1](super().pool(maps))


def settings(name: str, epochs: int, seed: int) -> PretrainConfig:
    drops = (round(0.6 * epochs), round(0.8 * epochs))
    if name == "paper":
        start = replace(PRESETS["paper-cifar10"], backbone="resnet10", stem=None)
    else:
        start = override(PRESETS["cifar10-cpu"], BASE | ROWS[name])
    return replace(start, epochs=epochs, lr_milestones=drops, seed=seed, eval_every=0)


def main() -> None:
    asked = parser(__doc__, images=20000, epochs=8).parse_args()
    source, held = splits(asked.data, asked.images)
    record = Record(asked.json, asked)

    def one(name: str, seed: int) -> dict[str, float]:
        model, seconds = train(source, settings(name, asked.epochs, seed), asked.device)
        return {"knn": Scores.of(model, source, held, asked.device).knn(), "seconds": seconds}

    for seed in range(asked.seeds):
        for name in asked.only or ROWS:
            record.run(name, seed, lambda name=name, seed=seed: one(name, seed))
    print(
        f"\n{record.kept['machine']}\n{record.kept['budget']}\n\n| | validation kNN, % |\n|---|--:|"
    )
    for name in ROWS:
        if found := [
            run["knn"] for key, run in record.kept["runs"].items() if key.rpartition("/")[0] == name
        ]:
            print(f"| {name} | {spread(found)} |")


if __name__ == "__main__":
    main()
