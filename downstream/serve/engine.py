"""What the page asks: the nearest stored images of a picture, their vote, and how long it took."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from downstream.retrieval import Store
from downstream.retrieval.index import open_index
from downstream.retrieval.pictures import Pictures
from downstream.retrieval.query import Queries, embed_image, model_of, neighbours
from downstream.voting import class_votes
from zoo import DataError

K, TEMPERATURE = 200, 0.07
CLASSES = 5  # of the vote that are shown


@dataclass(frozen=True, kw_only=True)
class Near:
    """A stored image: its row, key, class name (empty without one) and cosine to the query."""

    row: int
    key: str
    label: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """
    Attributes:
        near: the nearest images, falling.
        votes: (class, share of the weights exp(cos/τ)) of the likeliest classes, falling; empty without labels.
        k: neighbours that voted.
        embed_ms, search_ms: what it took.
    """

    near: list[Near]
    votes: list[tuple[str, float]]
    k: int
    embed_ms: float
    search_ms: float


class Engine:
    """A store and the model that it was made with; one query at a time."""

    def __init__(
        self,
        folder: str | Path,
        *,
        model: str | None = None,
        index: str | None = None,
        device: str = "cpu",
        top: int = 20,
    ) -> None:
        """
        Args:
            folder: of the store.
            model: where its model lies, if no longer where it was.
            index: kind of an index of the store; exact search without.
            device: where queries are embedded.
            top: images to find.

        Raises:
            DataError: if it is no store, an empty one, or the index does not belong to it.
            ModelError: if the model cannot be loaded or is not the one that the rows were made with.
        """
        self.store, self.device, self.top = Store.open(folder), device, top
        if len(self.store) < 1:
            raise DataError(f"{folder}: holds no images; embed some first")
        self.model = model_of(self.store, model)
        self.index = open_index(self.store, index) if index is not None else None
        self._pictures, self._lock = Pictures(self.store), threading.Lock()

    def __len__(self) -> int:
        return len(self.store)

    def picture(self, row: int) -> Image.Image:
        """The stored image of a row.

        Raises:
            DataError: if it is no longer where it was.
        """
        with self._lock:
            return self._pictures.image(row)

    def ask(self, image: Image.Image) -> Answer:
        """Of a picture."""
        with self._lock:
            began = time.perf_counter()
            query = embed_image(self.model, image, self.device)
            return self._answer(query, -1, 1000 * (time.perf_counter() - began))

    def ask_row(self, row: int) -> Answer:
        """Of a stored image, which is left out itself."""
        with self._lock:
            return self._answer(self.store.take(np.array([row])), row, 0.0)

    def _answer(self, query: Tensor, own: int, embed_ms: float) -> Answer:
        began = time.perf_counter()
        count = min(max(K, self.top), len(self) - (own >= 0))
        if count < 1:
            return Answer(near=[], votes=[], k=0, embed_ms=embed_ms, search_ms=0.0)
        queries = Queries(names=[""], vectors=query, own=[own])
        cosines, rows = (
            found[0] for found in neighbours(self.store, queries, count, index=self.index)
        )
        cosines, rows = cosines[rows >= 0], rows[rows >= 0]  # an index may find fewer
        shares = self._vote(cosines[:K], rows[:K])
        search_ms = 1000 * (time.perf_counter() - began)
        near = [
            self._near(int(r), float(c))
            for r, c in zip(rows[: self.top], cosines[: self.top], strict=True)
        ]
        return Answer(
            near=near, votes=shares, k=len(rows[:K]), embed_ms=embed_ms, search_ms=search_ms
        )

    def _vote(self, cosines: Tensor, rows: Tensor) -> list[tuple[str, float]]:
        classes = self.store.classes
        if not classes or not len(rows):
            return []
        labels = torch.from_numpy(self.store.labels[rows.numpy()].astype(np.int64))
        labels[labels < 0] = len(classes)  # no class: a vote of its own, which does not count
        sums = class_votes(cosines[None], labels[None], TEMPERATURE, len(classes) + 1)[0, :-1]
        shares, best = (sums / sums.sum().clamp(min=1e-12)).topk(min(CLASSES, len(classes)))
        return [
            (classes[c], share)
            for c, share in zip(best.tolist(), shares.tolist(), strict=True)
            if share > 0
        ]

    def _near(self, row: int, cosine: float) -> Near:
        return Near(row=row, key=self.store.keys[row], label=self.label(row), cosine=cosine)

    def label(self, row: int) -> str:
        """Class name of a row; empty where it has none."""
        label = int(self.store.labels[row])
        return self.store.classes[label] if label >= 0 else ""
