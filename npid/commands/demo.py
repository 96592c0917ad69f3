from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where run, model and picture go.")] = Path("npid-demo"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer are faster and worse.")] = None,
) -> None:
    """Pretrain on scikit-learn's digits without labels, score, export, load back, and draw; about a minute on a CPU."""
    import json
    import time

    import torch
    from torch.nn.functional import normalize

    import zoo
    from downstream.features import embeddings
    from downstream.knn import knn
    from npid.console import table
    from npid.training import train
    from pretrain import PRESETS, export, override
    from zoo.files import new_folder
    from zoo.sources import open_source

    began = time.monotonic()
    changes = {"epochs": str(epochs)} if epochs else {}
    run, model_dir = out / "run", out / "model"
    with new_folder(out, replace=_is_demo(out)) as aside:
        train("digits", aside / "run", override(PRESETS["digits"], changes))
        export(aside / "run", aside / "model", with_bank=True)
    model = zoo.load(model_dir)
    train_set, test_set = open_source("digits"), open_source("digits", "test")
    (rows, _), (queries, _) = embeddings(model, train_set), embeddings(model, test_set)
    labels, answer = (torch.from_numpy(source.require_labels()[0]) for source in (train_set, test_set))

    def top1(references: torch.Tensor, asked: torch.Tensor) -> float:
        return 100 * (knn(references, labels, asked) == answer).float().mean().item()

    arrays = [torch.from_numpy(source.array()).flatten(1).float() for source in (train_set, test_set)]
    bank = zoo.load_bank(model_dir)
    assert bank is not None  # exported above
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = [line for line in lines if line["event"] == "knn"]
    table(
        "kNN top-1 on 360 test digits, no label used in training",
        ("", "%"),
        [
            ("raw pixels", top1(*(normalize(pixels, dim=1) for pixels in arrays))),
            ("untrained network", 100 * scores[0]["top1"]),
            (f"after {scores[-1]['epoch']} epochs", 100 * scores[-1]["top1"]),
            ("exported and loaded back", top1(bank, queries)),
            ("the same, training images embedded afresh", top1(rows, queries)),
        ],
    )
    picture = _draw(out / "demo.png", lines, queries, rows, train_set, test_set)
    typer.echo(f"model {model_dir}, picture {picture}; {time.monotonic() - began:.0f} seconds")


def _is_demo(out: Path) -> bool:
    """Whether the folder holds an earlier demo, which may be replaced."""
    return (out / "run" / "metrics.jsonl").exists() and (out / "model" / "config.json").exists()


def _draw(path: Path, lines, queries, rows, train_set, test_set) -> str:
    """Curves of loss and kNN above, a few queries with their nearest training images below."""
    try:
        import matplotlib
        import numpy as np

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return "not drawn (pip install 'npid-zoo[viz]')"
    count, near = 5, 8
    figure = plt.figure(figsize=(9, 7.5), layout="constrained")
    above, below = np.ravel(figure.subfigures(2, 1, height_ratios=(2, 3)))  # type: ignore[arg-type]
    left, right = above.subplots(1, 2)
    for axis, event, key, name in ((left, "epoch", "loss", "loss"), (right, "knn", "top1", "kNN top-1, %")):
        scale = 100 if event == "knn" else 1
        points = [(line["epoch"], scale * line[key]) for line in lines if line["event"] == event]
        axis.plot(*zip(*points, strict=True), marker="." if event == "knn" else "")
        axis.set(xlabel="epoch", ylabel=name)
        axis.grid(alpha=0.3)
    below.suptitle("Test digits (left) and their nearest training images; red: another class", fontsize=10)
    panels = below.subplots(count, near + 1)
    step = len(test_set) // count
    for i, line in enumerate(panels):
        query = i * step
        nearest = (rows @ queries[query]).topk(near).indices.tolist()
        pictures = [(test_set, query), *((train_set, j) for j in nearest)]
        for axis, (source, index) in zip(line, pictures, strict=True):
            axis.imshow(source.images[index])
            wrong = source.labels[index] != test_set.labels[query]
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(color="red" if wrong else "black", linewidth=2 if wrong else 0.5)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return str(path)
