r"""The paper's Table 1 on CIFAR-10, and its ablations of embedding size and training-set size.

    python benchmarks/table1.py CIFAR10 --json table1.json [--images 20000] [--epochs 10] \
        [--seeds 2] [--full] [--test]

Each row of Table 1 trains one objective and scores it by a linear SVM and by the kNN vote on the
embeddings of the same training images. ``--full`` is the paper's size and recipe (preset
``paper-cifar10``): ResNet-18, all 50 000 images, 200 epochs, on a GPU. Otherwise it is the small
ResNet-10 at a budget that a CPU manages, with the recipe of ``cifar10-cpu`` (bank from the
untrained features, learning rate 0.1 on a cosine), for the paper's has hardly begun to learn by
then. Scored on 5 000 held-out training images, or with ``--test`` on the test images. Results are
kept in the JSON file as they come."""

from dataclasses import replace
from typing import Any

from training import Record, Scores, parser, splits, spread, train

from pretrain import PRESETS, PretrainConfig, override
from zoo.data.sources import Source, open_source

TABLE: dict[str, tuple[dict[str, str], str]] = {  # settings; the paper's linear SVM / kNN
    "parametric softmax": (
        {"loss.name": "parametric", "loss.temperature": "1"},
        "60.3 / 63.0",
    ),
    "non-parametric softmax": ({"loss.name": "exact"}, "75.4 / 80.8"),
    "NCE, m = 1": ({"loss.name": "nce", "loss.negatives": "1"}, "44.3 / 42.5"),
    "NCE, m = 10": ({"loss.name": "nce", "loss.negatives": "10"}, "60.2 / 63.4"),
    "NCE, m = 512": ({"loss.name": "nce", "loss.negatives": "512"}, "64.3 / 78.4"),
    "NCE, m = 4096": ({"loss.name": "nce", "loss.negatives": "4096"}, "70.2 / 80.4"),
}
DIMS, SHARES = (32, 64, 128, 256), (0.1, 0.3, 0.5, 1.0)


def settings(asked: Any, seed: int, changes: dict[str, str]) -> PretrainConfig:
    start = PRESETS["paper-cifar10" if asked.full else "cifar10-cpu"]
    drops = (round(0.6 * asked.epochs), round(0.8 * asked.epochs))
    if "loss.negatives" in changes:
        changes = {"loss.shared": "false"} | changes
    return override(
        replace(start, epochs=asked.epochs, lr_milestones=drops, seed=seed, eval_every=0),
        changes,
    )


def main() -> None:
    made = parser(__doc__, images=20000, epochs=10)
    made.add_argument(
        "--full", action="store_true", help="the paper's size: ResNet-18, 50 000 images, 200 epochs"
    )
    made.add_argument("--test", action="store_true", help="score on the test images")
    asked = made.parse_args()
    if asked.full:
        asked.images, asked.epochs = 50000, 200
    source: Source
    source, held = splits(asked.data, asked.images)
    if asked.full:
        source = open_source(asked.data)
    scored: Source = open_source(asked.data, "test") if asked.test or asked.full else held
    record = Record(asked.json, asked)

    def one(seed: int, changes: dict[str, str], images: Source, epochs: int) -> dict[str, float]:
        how = settings(asked, seed, changes)
        drops = tuple(round(drop * epochs / how.epochs) for drop in how.lr_milestones)
        model, seconds = train(
            images, replace(how, epochs=epochs, lr_milestones=drops), asked.device
        )
        scores = Scores.of(model, images, scored, asked.device)
        return {"svm": scores.svm(), "knn": scores.knn(), "seconds": seconds}

    runs: dict[str, tuple[dict[str, str], Source, int]] = {
        name: (changes, source, asked.epochs) for name, (changes, _) in TABLE.items()
    }
    runs |= {
        f"dim {dim}": ({"loss.name": "exact", "embed_dim": str(dim)}, source, asked.epochs)
        for dim in DIMS
        if dim != 128
    }
    for share in SHARES[:-1]:  # equally many steps: fewer images are seen more often
        part, _ = splits(asked.data, round(share * asked.images))
        runs[f"{share:.0%} of the images"] = (
            {"loss.name": "exact"},
            part,
            round(asked.epochs / share),
        )
    results: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for seed in range(asked.seeds):
        for name in asked.only or runs:
            results[name].append(
                record.run(name, seed, lambda name=name, seed=seed: one(seed, *runs[name]))
            )
    show(record, results)


def show(record: Record, results: dict[str, list[dict[str, float]]]) -> None:
    def line(name: str, shown: str, last: str = "") -> None:
        if found := results[name]:
            svm, knn = (spread([run[key] for run in found]) for key in ("svm", "knn"))
            print(f"| {shown} | {svm} | {knn} |{last}")

    print(f"\n{record.kept['machine']}\n{record.kept['budget']}")
    print("\n| | linear SVM | kNN | paper: SVM / kNN |\n|---|--:|--:|--:|")
    for name, (_, published) in TABLE.items():
        line(name, name, f" {published} |")
    base = "non-parametric softmax"
    print("\n| embedding | linear SVM | kNN |\n|---|--:|--:|")
    for dim in DIMS:
        line(base if dim == 128 else f"dim {dim}", str(dim))
    print("\n| training images | linear SVM | kNN |\n|---|--:|--:|")
    for share in SHARES:
        line(base if share == 1 else f"{share:.0%} of the images", f"{share:.0%}")


if __name__ == "__main__":
    main()
