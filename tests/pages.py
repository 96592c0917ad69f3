"""Stores and results for the tests of pages, and a reader of HTML that minds its tags."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch

from downstream.features.manifest import Part, StoreManifest
from downstream.features.store_writer import open_writer
from zoo.data.sources import open_source
from zoo.results import Results

PRETRAIN_LINES = [
    {"event": "knn", "step": 0, "epoch": 0, "seconds": 0.0, "top1": 0.3125},
    {"event": "epoch", "step": 7, "epoch": 1, "loss": 5.4321, "lr": 0.03, "seconds": 1.0},
    {"event": "epoch", "step": 14, "epoch": 2, "loss": 4.1234, "lr": 0.003, "seconds": 2.0},
    {"event": "knn", "step": 14, "epoch": 2, "seconds": 2.0, "top1": 0.6789},
]
EVIL = "</script><script>pwned=1</script><img src=x onerror=pwned=2>"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Html(HTMLParser):
    """Tags with their attributes and all text; raises where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.text += data


def clusters(
    folder: Path, count: int, *, classes: list[str] | None = None, dim: int = 16, seed: int = 0
) -> Path:
    """Write a store of unit vectors about ten centres, which are classes of digits.

    Args:
        folder: the store, which is made.
        count: rows.
        classes: names in place of the digits.
        dim: of the vectors.
        seed: of everything drawn.
    """
    digits = open_source("digits")
    assert digits.labels is not None
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    vectors = draw.normal(size=(10, dim))[labels] + 0.8 * draw.normal(size=(count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    of_class = [np.flatnonzero(digits.labels == c) for c in range(10)]
    keys = [digits.key(int(draw.choice(of_class[label]))) for label in labels]
    manifest = StoreManifest(
        model="nowhere",
        model_sha256="0" * 64,
        input={},
        dim=dim,
        dtype="float32",
        classes=classes or list("0123456789"),
        parts=[Part(data="digits", split="train", digest=digits.digest, first=0)],
    )
    with open_writer(folder, manifest) as writer:
        writer.append(torch.from_numpy(vectors).float(), keys, [0] * count, labels.astype(np.int32))
    return folder


def results(task: str, metrics: dict[str, float], **more) -> Results:
    """Make one task's results, on CIFAR-10 unless other values say otherwise."""
    given = {
        "data": "cifar10",
        "split_sizes": {"train": 8, "test": 4},
        "settings": {"k": 5},
        "model_sha256": "ab" * 32,
    }
    return Results(**{"task": task, "metrics": metrics, "seconds": 1.5, **given, **more})


def run_folder(path, lines=PRETRAIN_LINES):
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
