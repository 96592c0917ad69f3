"""What the training studies share: a validation split, runs of one budget, and their scores."""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import machine

from downstream.features.extract import embeddings
from downstream.voting import weighted_knn
from pretrain import PretrainConfig, pretrain
from pretrain.export import load_run
from zoo import Backbone
from zoo.data.sources import Source, Subset, open_source
from zoo.utils.files import write_text

HELD_OUT = 5000  # training images that only choose between settings


def splits(data: str, images: int | None) -> tuple[Subset, Subset]:
    """The first ``images`` of a fixed shuffle of the training split, and the held-out rest."""
    whole = open_source(data)
    order = np.random.default_rng(0).permutation(len(whole))
    return Subset(whole, np.sort(order[HELD_OUT:][:images])), Subset(
        whole, np.sort(order[:HELD_OUT])
    )


def train(source: Source, config: PretrainConfig, device: str) -> tuple[Backbone, float]:
    """A backbone trained with the config, and the seconds of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(source, Path(folder) / "run", config, device=device)
        model, _ = load_run(run)
        return model, model.meta["seconds"]


@dataclass(frozen=True)
class Scores:
    """Embeddings of both splits, scored by the kNN vote and the linear SVM of Wu et al., 0–1."""

    rows: torch.Tensor
    labels: torch.Tensor
    queries: torch.Tensor
    answer: torch.Tensor

    @classmethod
    def of(cls, model: Backbone, train_set: Source, test_set: Source, device: str) -> "Scores":
        (a, _), (b, _) = (
            embeddings(model, source, device=device) for source in (train_set, test_set)
        )
        y, z = (torch.from_numpy(source.require_labels()[0]) for source in (train_set, test_set))
        return cls(a, y, b, z)

    def knn(self) -> float:
        found = weighted_knn(self.rows, self.labels, self.queries, k=min(200, len(self.rows)))
        return (found == self.answer).float().mean().item()

    def svm(self) -> float:
        from sklearn.svm import LinearSVC

        fitted = LinearSVC(C=1.0, dual=False).fit(self.rows.numpy(), self.labels.numpy())
        return float(fitted.score(self.queries.numpy(), self.answer.numpy()))


def parser(about: str, *, images: int, epochs: int) -> argparse.ArgumentParser:
    """The options that every study has."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("data", help="CIFAR-10, as npid takes it")
    made.add_argument(
        "--json",
        type=Path,
        required=True,
        help="where results are kept; what is there is not run again",
    )
    made.add_argument("--images", type=int, default=images, help="of the training split")
    made.add_argument("--epochs", type=int, default=epochs)
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--only", nargs="*", help="names of the rows to run")
    made.add_argument("--device", default="cpu")
    return made


class Record:
    """Results by name and seed in a JSON file, written after each: a study can be stopped."""

    def __init__(self, path: Path, asked: argparse.Namespace) -> None:
        budget = {"data": Path(asked.data).name, "images": asked.images, "epochs": asked.epochs}
        self.path = path
        self.kept: dict[str, Any] = (
            json.loads(path.read_text()) if path.exists() else {"budget": budget, "runs": {}}
        )
        if self.kept["budget"] != budget:
            raise SystemExit(
                f"{path} holds runs of another budget, {self.kept['budget']}; choose another --json"
            )

    def run(self, name: str, seed: int, work: Any) -> dict[str, float]:
        """The kept result, or that of ``work()``."""
        key = f"{name}/{seed}"
        if key not in self.kept["runs"]:
            began = time.monotonic()
            found = work()
            self.kept["runs"][key] = {**found, "wall": round(time.monotonic() - began, 1)}
            self.kept["machine"] = machine("scikit-learn")
            write_text(self.path, json.dumps(self.kept, indent=1) + "\n")
            print(key, self.kept["runs"][key], flush=True)
        return self.kept["runs"][key]


def spread(values: list[float]) -> str:
    """Mean in per cent, with the range where there are several."""
    mean = f"{100 * float(np.mean(values)):.1f}"
    return mean if len(values) < 2 else f"{mean} ({100 * min(values):.1f}–{100 * max(values):.1f})"
