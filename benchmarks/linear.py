r"""What probing all layers costs beside the frozen forward pass, and what kept features save.

    python benchmarks/linear.py MODEL DATA [--rounds 3] [--tasks knn svm pooled all] \
        [--scikit-learn LAYER]

Extraction: all layers of both splits, pooled and written to an empty cache, against the forward
pass alone over the same images. With --tasks whole tasks instead, the first time and again:
everything from opening the data to the scores. With --scikit-learn instead the probe of one layer
and scikit-learn's logistic regression on the same frozen features, for each penalty."""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable

import torch
from timing import Cases, interleaved, machine, ratio, report

import zoo
from downstream.features.extract import image_batches
from downstream.features.layers import layer_features
from downstream.linear import PRESETS, lbfgs
from downstream.tasks import run_task
from zoo.data.sources import open_source

HOW = {"batch_size": 256, "device": "cpu", "workers": 0}


def extraction(model: str, data: str, rounds: int) -> None:
    network, sources = zoo.load(model), [open_source(data, split) for split in ("train", "test")]
    for source in sources:
        source.array()  # decoded before any clock runs, where it is kept in memory at all

    @torch.no_grad()
    def forward() -> None:
        for source in sources:
            for images, _ in image_batches(network, source, **HOW):
                network(images)

    def layers(names: tuple[str, ...], fresh: bool) -> Callable[[], None]:
        def work() -> None:
            if fresh:
                shutil.rmtree(
                    os.path.join(os.environ["NPID_CACHE"], "features"), ignore_errors=True
                )
            for source in sources:
                layer_features(network, source, names, sha256=model, **HOW)

        return work

    cases: Cases = {
        "frozen forward pass": forward,
        "embedding": layers(("embedding",), True),
        "all layers": layers(network.layers, True),
        "all layers again": layers(network.layers, False),
    }
    times = interleaved(cases, rounds)
    images = sum(map(len, sources))
    report(
        f"{network.arch} at {network.input.size} pixels, {images:,} images of {data}",
        times,
        "frozen forward pass",
    )
    print(
        "all layers, the first time against again: "
        f"{ratio(times, 'all layers', 'all layers again'):,.0f}"
    )


def tasks(model: str, data: str, rounds: int, names: list[str]) -> None:
    def probes(*layers: str) -> Callable[[], object]:
        return lambda: run_task("linear", model, data, layers=layers)

    cases: dict[str, Callable[[], object]] = {
        "knn": lambda: run_task("knn", model, data),
        "svm": lambda: run_task("linear", model, data, preset="svm"),
        "pooled": probes("pooled"),
        "all": probes(),
    }
    print("\n| task | first, s | again, s | first by again |\n|---|--:|--:|--:|")
    for name, work in ((name, cases[name]) for name in names):
        seconds = []
        for _ in range(rounds):
            shutil.rmtree(os.path.join(os.environ["NPID_CACHE"], "features"), ignore_errors=True)
            for _ in range(2):
                began = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - began)
        first, again = sorted(seconds[::2])[rounds // 2], sorted(seconds[1::2])[rounds // 2]
        print(f"| {name} | {first:.1f} | {again:.1f} | {first / again:.1f} |", flush=True)


def against_sklearn(model: str, data: str, layer: str) -> None:
    from sklearn.linear_model import LogisticRegression

    network, sources = zoo.load(model), [open_source(data, split) for split in ("train", "test")]
    train, test = (
        layer_features(network, source, [layer], sha256=model, **HOW)[layer].float()
        for source in sources
    )
    y, z = (torch.from_numpy(source.require_labels()[0]) for source in sources)
    std, mean = torch.std_mean(train, 0)
    scaled = [(x - mean) / std.clamp(min=1e-6) for x in (train, test)]
    print(
        f"\n{layer}, {len(y):,} × {train.shape[1]:,}: top-1, %\n\n"
        "| λ | ours | scikit-learn |\n|---|--:|--:|"
    )
    for penalty in PRESETS["lbfgs"].sweep:
        probe = lbfgs.fit(train, y, int(y.max()) + 1, penalties=(penalty,))[penalty]
        ours = (probe(test).argmax(1) == z).float().mean().item()
        theirs = (
            LogisticRegression(C=1 / (penalty * len(y)), max_iter=1000)
            .fit(scaled[0], y)
            .score(scaled[1], z)
        )
        print(f"| {penalty:g} | {100 * ours:.2f} | {100 * theirs:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=("knn", "svm", "pooled", "all"))
    parser.add_argument("--scikit-learn", metavar="LAYER")
    asked = parser.parse_args()
    print(machine("scikit-learn"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NPID_CACHE"] = folder
        if asked.scikit_learn:
            return against_sklearn(asked.model, asked.data, asked.scikit_learn)
        if asked.tasks:
            return tasks(asked.model, asked.data, asked.rounds, asked.tasks)
        extraction(asked.model, asked.data, asked.rounds)


if __name__ == "__main__":
    main()
