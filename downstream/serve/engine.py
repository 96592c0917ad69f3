"""What the page asks: the nearest stored images of a picture, their vote, and how long it took."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import zoo
from downstream.retrieval import Store, search
from downstream.retrieval.pictures import Pictures
from zoo import DataError, ModelError
from zoo.weights import WEIGHTS, sha256

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

    def __init__(self, folder: str | Path, *, model: str | None = None, device: str = "cpu", top: int = 20) -> None:
        """
        Args:
            folder: of the store.
            model: where its model lies, if no longer where it was.
            device: where queries are embedded.
            top: images to find.

        Raises:
            DataError: if it is no store, or an empty one.
            ModelError: if the model cannot be loaded or is not the one that the rows were made with.
        """
        self.store, self.device, self.top = Store.open(folder), device, top
        if len(self.store) < 1:
            raise DataError(f"{folder}: holds no images; embed some first")
        wanted = self.store.manifest.model_sha256
        place = zoo.locate(model or self.store.manifest.model)
        self.model = zoo.load(place).to(device)
        if (found := sha256(place / WEIGHTS)) != wanted:
            raise ModelError(
                f"{place}: not the model that {folder} was made with (sha256 {found[:12]}… instead of {wanted[:12]}…); "
                "give that one with --model, or embed again"
            )
        self._transform, self._pictures, self._lock = self.model.preprocess(), Pictures(self.store), threading.Lock()

    def __len__(self) -> int:
        return len(self.store)

    def picture(self, row: int) -> Image.Image:
        """The stored image of a row.

        Raises:
            DataError: if it is no longer where it was.
        """
        with self._lock:
            return self._pictures.image(row)

    @torch.no_grad()
    def ask(self, image: Image.Image) -> Answer:
        """Of a picture."""
        with self._lock:
            began = time.perf_counter()
            query = self.model.embed(self._transform(image)[None].to(self.device)).cpu()
            return self._answer(query, None, 1000 * (time.perf_counter() - began))

    def ask_row(self, row: int) -> Answer:
        """Of a stored image, which is left out itself."""
        with self._lock:
            return self._answer(self.store.vectors[row : row + 1].float(), row, 0.0)

    def _answer(self, query: Tensor, row: int | None, embed_ms: float) -> Answer:
        began = time.perf_counter()
        k = min(max(K, self.top) + (row is not None), len(self.store))
        cosines, rows = (found[0] for found in search(self.store, query, k))
        others = rows != (-1 if row is None else row)
        cosines, rows = cosines[others], rows[others]
        votes = self._vote(cosines[:K], rows[:K])
        search_ms = 1000 * (time.perf_counter() - began)
        near = [self._near(int(r), float(c)) for r, c in zip(rows[: self.top], cosines[: self.top], strict=True)]
        return Answer(near=near, votes=votes, k=len(rows[:K]), embed_ms=embed_ms, search_ms=search_ms)

    def _vote(self, cosines: Tensor, rows: Tensor) -> list[tuple[str, float]]:
        if not self.store.classes or not len(rows):
            return []
        labels = torch.from_numpy(self.store.labels[rows.numpy()].astype("int64"))
        weights = torch.exp((cosines - cosines[0]) / TEMPERATURE) * (labels >= 0)
        votes = torch.zeros(len(self.store.classes)).scatter_add_(0, labels.clamp(min=0), weights)
        shares, best = (votes / votes.sum().clamp(min=1e-12)).topk(min(CLASSES, len(votes)))
        pairs = zip(best.tolist(), shares.tolist(), strict=True)
        return [(self.store.classes[c], share) for c, share in pairs if share > 0]

    def _near(self, row: int, cosine: float) -> Near:
        return Near(row=row, key=self.store.keys[row], label=self.label(row), cosine=cosine)

    def label(self, row: int) -> str:
        """Class name of a row; empty where it has none."""
        label = int(self.store.labels[row])
        return self.store.classes[label] if label >= 0 else ""
