"""From what a user names to embeddings: an image file, a folder of images, or a stored key."""

import difflib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import zoo
from downstream.features.extract import embeddings
from downstream.features.store import FeatureStore
from downstream.retrieval.images import StoredImages
from downstream.retrieval.search import Proposer, search
from zoo import Backbone, DataError, ModelError
from zoo.data.images import read
from zoo.data.sources import Source, open_source
from zoo.models.model_dir import WEIGHTS, sha256

_KEYS_COMPARED = 20_000  # for a hint at the key that was meant


@dataclass(frozen=True, kw_only=True)
class Queries:
    """What the nearest rows are sought of.

    Attributes:
        names: Q names, as they are shown.
        embeddings: Q×D.
        own_rows: Q rows of the store that are the queries themselves, −1 where they are not in it.
        source: where the images are, for a folder of them.
    """

    names: list[str]
    embeddings: Tensor
    own_rows: list[int]
    source: Source | None = None

    @property
    def any_stored(self) -> bool:
        """Whether a query is itself a row of the store."""
        return any(row >= 0 for row in self.own_rows)

    def image(self, number: int, stored: StoredImages) -> Image.Image:
        """Read the image of a query.

        Args:
            number: of the query, from 0.
            stored: the images of the store.
        """
        if self.own_rows[number] >= 0:
            return stored.image(self.own_rows[number])
        if self.source is not None:
            return self.source.image(number)
        return read(self.names[number])


def load_store_model(store: FeatureStore, model: str | Path | None = None) -> Backbone:
    """Load the model that the store's rows come from, in eval mode.

    Args:
        store: the rows.
        model: where it is, if not where it was when the images were embedded.

    Raises:
        ModelError: if it is not there, or is another one.
    """
    name = str(model or store.manifest.model)
    folder = zoo.locate(name)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ModelError(
            f"{name}: the model of {store.folder} is not there; say where it is with --model"
        )
    expected = store.manifest.model_sha256
    found = sha256(weights)
    if found != expected:
        raise ModelError(
            f"{weights}: another model than that of {store.folder} "
            f"(sha256 {found[:12]}… instead of {expected[:12]}…); "
            "give that one with --model, or embed the images again"
        )
    return zoo.load(folder)


def open_queries(
    store: FeatureStore,
    query: str,
    *,
    model: str | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Queries:
    """Embed what a user names.

    Args:
        store: that will be searched.
        query: an image file, a folder of images, or the key of an image in the store.
        model: where the store's model is, if not where it was.
        device: where the model runs.
        workers: processes that decode images; 0 for this one.

    Raises:
        DataError: if ``query`` is no image, no folder of images and no key of the store.
        ModelError: see :func:`load_store_model`.
    """
    path = Path(query)
    if path.is_dir():
        source = open_source(query)
        backbone = load_store_model(store, model)
        vectors, _ = embeddings(backbone, source, device=device, workers=workers)
        names = [source.key(index) for index in range(len(source))]
        return Queries(names=names, embeddings=vectors, own_rows=[-1] * len(names), source=source)
    if path.is_file():
        vector = embed_image(load_store_model(store, model), read(path), device)
        return Queries(names=[query], embeddings=vector, own_rows=[-1])
    row = store.keys.find(query)
    if row is None:
        raise DataError(
            f"{query}: no image file, no folder and no key of {store.folder}"
            f"{_key_hint(store, query)}"
        )
    return Queries(names=[query], embeddings=store.take(np.array([row])), own_rows=[row])


def _key_hint(store: FeatureStore, query: str) -> str:
    """A key of the store that may have been meant, or an example of one."""
    if not len(store):
        return ""
    first_keys = itertools.islice(store.keys, _KEYS_COMPARED)
    close = difflib.get_close_matches(query, first_keys, n=1)
    return f" (did you mean {close[0]}?)" if close else f", such as {store.keys[0]}"


@torch.no_grad()
def embed_image(model: Backbone, image: Image.Image, device: str = "cpu") -> Tensor:
    """Embed one image.

    Args:
        model: in eval mode.
        image: RGB.
        device: where the model runs.

    Returns:
        1×D, on the CPU.
    """
    pixels = model.preprocess()(image)
    return model.to(device).embed(pixels[None].to(device)).cpu()


def search_others(
    store: FeatureStore,
    queries: Queries,
    top: int,
    *,
    index: Proposer | None = None,
    num_candidates: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows that are not the queries themselves; see :func:`search`.

    Args:
        store: the rows.
        queries: what they shall be near.
        top: how many rows of each query.
        index: proposes rows; without one the search is exact.
        num_candidates: how many the index proposes.

    Returns:
        Q×top scores (falling) and Q×top row numbers, −1 where an index found fewer.

    Raises:
        SettingsError: if ``top`` is not within 1 and the number of other rows.
    """
    extra = 1 if queries.any_stored else 0
    scores, rows = search(
        store, queries.embeddings, top + extra, index=index, num_candidates=num_candidates
    )
    if not extra:
        return scores, rows
    is_other = rows != torch.tensor(queries.own_rows)[:, None]
    # a query that was not found among its own nearest loses its last row instead
    is_other[:, -1] &= ~is_other.all(1)
    return scores[is_other].view(-1, top), rows[is_other].view(-1, top)
