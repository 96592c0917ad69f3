"""The nearest stored images of an image, their vote, and how long that took."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from downstream.features.store import FeatureStore
from downstream.retrieval.images import StoredImages
from downstream.retrieval.index import open_index
from downstream.retrieval.query import Queries, embed_image, load_store_model, search_others
from downstream.voting import class_votes
from zoo import DataError

VOTERS = 200
TEMPERATURE = 0.07
CLASSES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A stored image near to a query.

    Attributes:
        row: its row in the store.
        key: the image's identity in its data set.
        label: name of its class; empty without one.
        cosine: to the query.
    """

    row: int
    key: str
    label: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query gets.

    Attributes:
        neighbours: the nearest images, falling.
        votes: (class, share of the weights exp(cos/τ)) of the likeliest classes, falling; empty
            without labels.
        k: neighbours that voted.
        embed_ms: how long embedding took, in milliseconds; 0 for a stored image.
        search_ms: how long the search took, in milliseconds.
    """

    neighbours: list[Neighbour]
    votes: list[tuple[str, float]]
    k: int
    embed_ms: float
    search_ms: float


class Engine:
    """A store and the model that it was made with; one query at a time.

    Attributes:
        store: that is searched.
        model: that embeds queries.
        index: that proposes rows; None for exact search.
        device: where queries are embedded.
        top: images to find.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        model: str | None = None,
        index: str | None = None,
        device: str = "cpu",
        top: int = 20,
    ) -> None:
        """Open the store, and load its model and index.

        Args:
            folder: of the store.
            model: where its model lies, if no longer where it was.
            index: kind of an index of the store; exact search without.
            device: where queries are embedded.
            top: images to find.

        Raises:
            DataError: if it is no store, an empty one, or the index does not belong to it.
            ModelError: if the model cannot be loaded or is not the one that the rows were made
                with.
        """
        self.store = FeatureStore.open(folder)
        self.device = device
        self.top = top
        if len(self.store) < 1:
            raise DataError(f"{folder}: holds no images; embed some first")
        self.model = load_store_model(self.store, model)
        self.index = open_index(self.store, index) if index is not None else None
        self._stored_images = StoredImages(self.store)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.store)

    def image(self, row: int) -> Image.Image:
        """Read the stored image of a row.

        Raises:
            DataError: if it is no longer where it was.
        """
        with self._lock:
            return self._stored_images.image(row)

    def search_image(self, image: Image.Image) -> Answer:
        """Find the stored images nearest to an image."""
        with self._lock:
            began = time.perf_counter()
            embedding = embed_image(self.model, image, self.device)
            embed_ms = _milliseconds_since(began)
            return self._search(embedding, -1, embed_ms)

    def search_row(self, row: int) -> Answer:
        """Find the stored images nearest to a stored image, which is left out itself."""
        with self._lock:
            return self._search(self.store.take(np.array([row])), row, 0.0)

    def _search(self, embedding: Tensor, own_row: int, embed_ms: float) -> Answer:
        """Search for one query.

        Args:
            embedding: 1×D.
            own_row: of the query; −1 where it is not in the store.
            embed_ms: what embedding took.
        """
        began = time.perf_counter()
        num_others = len(self) - 1 if own_row >= 0 else len(self)
        count = min(max(VOTERS, self.top), num_others)
        if count < 1:
            return Answer(neighbours=[], votes=[], k=0, embed_ms=embed_ms, search_ms=0.0)
        queries = Queries(names=[""], embeddings=embedding, own_rows=[own_row])
        all_cosines, all_rows = search_others(self.store, queries, count, index=self.index)
        was_found = all_rows[0] >= 0  # an index may find fewer
        cosines = all_cosines[0][was_found]
        rows = all_rows[0][was_found]
        shares = self._vote(cosines[:VOTERS], rows[:VOTERS])
        search_ms = _milliseconds_since(began)
        neighbours = []
        for row, cosine in zip(
            rows[: self.top].tolist(), cosines[: self.top].tolist(), strict=True
        ):
            key = self.store.keys[row]
            neighbours.append(Neighbour(row=row, key=key, label=self.label(row), cosine=cosine))
        return Answer(
            neighbours=neighbours,
            votes=shares,
            k=len(rows[:VOTERS]),
            embed_ms=embed_ms,
            search_ms=search_ms,
        )

    def _vote(self, cosines: Tensor, rows: Tensor) -> list[tuple[str, float]]:
        classes = self.store.classes
        if not classes or not len(rows):
            return []
        labels = torch.from_numpy(self.store.labels[rows.numpy()].astype(np.int64))
        labels[labels < 0] = len(classes)  # no class: a vote of its own, which does not count
        sums = class_votes(cosines[None], labels[None], TEMPERATURE, len(classes) + 1)[0, :-1]
        shares = sums / sums.sum().clamp(min=1e-12)
        best_shares, best_classes = shares.topk(min(CLASSES_SHOWN, len(classes)))
        named_shares = []
        for number, share in zip(best_classes.tolist(), best_shares.tolist(), strict=True):
            if share > 0:
                named_shares.append((classes[number], share))
        return named_shares

    def label(self, row: int) -> str:
        """Look up the class name of a row; empty where it has none."""
        return self.store.class_name(row) or ""


def _milliseconds_since(began: float) -> float:
    return 1000 * (time.perf_counter() - began)
