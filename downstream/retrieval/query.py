"""From what a user names to vectors: an image file, a folder of images, or the key of an image in the store."""

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
from downstream.features.store import Store
from downstream.retrieval.pictures import Pictures
from downstream.retrieval.search import Candidates, search
from zoo import Backbone, DataError, ModelError
from zoo.data.images import read
from zoo.data.sources import Source, open_source
from zoo.models.model_dir import WEIGHTS, sha256


@dataclass(frozen=True, kw_only=True)
class Queries:
    """
    Attributes:
        names: Q names, as they are shown.
        vectors: Q×D.
        own: Q rows of the store that are the queries themselves, −1 where they are not in it.
        source: where the images are, for a folder of them.
    """

    names: list[str]
    vectors: Tensor
    own: list[int]
    source: Source | None = None

    def image(self, number: int, pictures: Pictures) -> Image.Image:
        """The picture of a query."""
        if self.own[number] >= 0:
            return pictures.image(self.own[number])
        return self.source.image(number) if self.source else read(self.names[number])


def model_of(store: Store, model: str | Path | None = None) -> Backbone:
    """The model that the store's rows come from, in eval mode.

    Args:
        model: where it is, if not where it was when the images were embedded.

    Raises:
        ModelError: if it is not there, or is another one.
    """
    where = str(model or store.manifest.model)
    folder = zoo.locate(where)
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{where}: the model of {store.folder} is not there; say where it is with --model"
        )
    found = sha256(folder / WEIGHTS)
    if found != store.manifest.model_sha256:
        raise ModelError(
            f"{folder / WEIGHTS}: another model than that of {store.folder} (sha256 {found[:12]}… instead of "
            f"{store.manifest.model_sha256[:12]}…); give that one with --model, or embed the images again"
        )
    return zoo.load(folder)


def queries_of(
    store: Store, query: str, *, model: str | None = None, device: str = "cpu", workers: int = 0
) -> Queries:
    """
    Raises:
        DataError: if ``query`` is no image, no folder of images and no key of the store.
        ModelError: see :func:`model_of`.
    """
    path = Path(query)
    if path.is_dir():
        source = open_source(query)
        vectors, _ = embeddings(model_of(store, model), source, device=device, workers=workers)
        names = [source.key(i) for i in range(len(source))]
        return Queries(names=names, vectors=vectors, own=[-1] * len(names), source=source)
    if path.is_file():
        return Queries(
            names=[query], vectors=embed_image(model_of(store, model), read(path), device), own=[-1]
        )
    row = store.keys.find(query)
    if row is None:
        close = difflib.get_close_matches(query, itertools.islice(store.keys, 20_000), n=1)
        hint = (
            f" (did you mean {close[0]}?)"
            if close
            else f", such as {store.keys[0]}"
            if len(store)
            else ""
        )
        raise DataError(f"{query}: no image file, no folder and no key of {store.folder}{hint}")
    return Queries(names=[query], vectors=store.take(np.array([row])), own=[row])


@torch.no_grad()
def embed_image(model: Backbone, image: Image.Image, device: str = "cpu") -> Tensor:
    """1×D, on the CPU."""
    return model.to(device).embed(model.preprocess()(image)[None].to(device)).cpu()


def neighbours(
    store: Store,
    queries: Queries,
    top: int,
    *,
    index: Candidates | None = None,
    candidates: int | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`search` without the queries themselves: Q×top scores and rows.

    Raises:
        SettingsError: if ``top`` is not within 1 and the number of other rows.
    """
    known = any(row >= 0 for row in queries.own)
    scores, rows = search(store, queries.vectors, top + known, index=index, candidates=candidates)
    if not known:
        return scores, rows
    other = rows != torch.tensor(queries.own)[:, None]
    other[:, -1] &= ~other.all(1)
    return scores[other].view(-1, top), rows[other].view(-1, top)
