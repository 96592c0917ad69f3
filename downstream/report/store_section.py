"""A store's part of the report: a gallery of neighbours, a confusion matrix of votes, and a map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from downstream.report.confusion import Confusion, confusion
from downstream.report.neighbours import Vote, vote
from downstream.report.pictures import Album, atlas, data_uri, thumbnail
from downstream.report.projection import flatten, to_square
from downstream.retrieval import Store
from zoo import DataError

# readable on white and on near-black; further classes take them again
PALETTE = (
    "#4e79a7",
    "#f28e2b",
    "#e15759",
    "#3fa7a0",
    "#59a14f",
    "#c9a227",
    "#b07aa1",
    "#ff7f9c",
    "#9c755f",
    "#8a8a8a",
)
SIDE = 8000  # the map's units
_TILE, _THUMB = 32, 72
_LEGEND = 40  # classes that the legend lists


@dataclass(kw_only=True)
class Shown:
    """One image of the gallery; ``uri`` is empty where the image is not to be had."""

    key: str
    label: str
    uri: str
    right: bool | None = None
    cosine: float = 1.0


@dataclass(kw_only=True)
class Line:
    """A query, the class that its neighbours voted for, and the nearest of them."""

    query: Shown
    vote: str
    near: list[Shown]


@dataclass(kw_only=True)
class Map:
    """Points, and what is drawn of them with a script (``data``, ``atlas``) and without (``still``)."""

    method: str
    still: str
    atlas: str
    data: dict[str, Any]
    legend: list[tuple[str, str]]


@dataclass(kw_only=True)
class StoreSection:
    """All of a store."""

    name: str
    data: str
    store: Store
    accuracy: float | None
    vote: Vote
    gallery: list[Line]
    confusion: Confusion | None
    map: Map
    faults: list[str]


def store_section(folder: Path, *, method: str, points: int, lines: int) -> StoreSection:
    """
    Args:
        folder: of the store.
        method: of the map: out of :data:`METHODS`.
        points: on the map at most; a sample of more.
        lines: of the gallery.

    Raises:
        DataError: if it is no store or has fewer than two rows.
    """
    store = Store.open(folder)
    if len(store) < 2:
        raise DataError(
            f"{folder}: a report needs a store of two rows or more, this one has {len(store)}"
        )
    album, votes = Album(store), vote(store)
    accuracy, table = None, None
    if votes.found is not None:
        there = store.labels[votes.queries] >= 0
        truth, found = store.labels[votes.queries][there], votes.found[there]
        accuracy = float((truth == found).mean()) if len(truth) else None
        counts = np.zeros((len(store.classes), len(store.classes)), int)
        np.add.at(counts, (truth, found), 1)
        table = confusion(
            f"vote of {votes.k} neighbours, {folder.name}", counts.tolist(), store.classes
        )
    return StoreSection(
        name=folder.name,
        data=", ".join(f"{part.data} ({part.split})" for part in store.manifest.parts),
        store=store,
        accuracy=accuracy,
        vote=votes,
        gallery=gallery(store, album, votes, lines),
        confusion=table,
        map=draw_map(store, album, method, points),
        faults=list(album.faults.values()),
    )


def _name(store: Store, label: int) -> str:
    return store.classes[label] if 0 <= label < len(store.classes) else ""


def gallery(store: Store, album: Album, votes: Vote, lines: int) -> list[Line]:
    """Sampled queries, those with a right vote and those with a wrong one by turns."""
    order = list(np.random.default_rng(1).permutation(len(votes.queries)))
    if votes.found is not None:
        wrong = store.labels[votes.queries] != votes.found
        halves = [i for i in order if not wrong[i]], [i for i in order if wrong[i]]
        some = min(len(halves[1]), max(lines // 2, lines - len(halves[0])))
        order = halves[0][: lines - some] + halves[1][:some]
    labels = store.labels

    def shown(row: int, truth: int | None, cosine: float = 1.0) -> Shown:
        image = album.image(row)
        uri = data_uri(thumbnail(image, _THUMB)) if image is not None else ""
        right = None if truth is None or truth < 0 else int(labels[row]) == truth
        return Shown(
            key=store.keys[row],
            label=_name(store, int(labels[row])),
            uri=uri,
            right=right,
            cosine=cosine,
        )

    out = []
    for i in order[:lines]:
        query, truth = int(votes.queries[i]), int(labels[votes.queries[i]])
        near = [
            shown(int(r), truth, float(c))
            for r, c in zip(votes.rows[i], votes.cosines[i], strict=True)
        ]
        found = _name(store, int(votes.found[i])) if votes.found is not None else ""
        asked = shown(query, None)
        asked.right = None if votes.found is None or truth < 0 else int(votes.found[i]) == truth
        out.append(Line(query=asked, vote=found, near=near))
    return out


def draw_map(store: Store, album: Album, method: str, points: int) -> Map:
    """A sample of the rows in two dimensions, in random order so that no class hides another."""
    rows = np.random.default_rng(2).permutation(len(store))[:points]
    flat, used = flatten(store.take(rows).numpy(), method)
    places, labels = to_square(flat, SIDE), np.asarray(store.labels)[rows]
    sheet = atlas(album, rows.tolist(), _TILE)
    legend = [(name, PALETTE[i % len(PALETTE)]) for i, name in enumerate(store.classes[:_LEGEND])]
    data = {
        "side": SIDE,
        "x": places[:, 0].tolist(),
        "y": (SIDE - places[:, 1]).tolist(),
        "label": labels.tolist(),
        "keys": [store.keys[int(row)] for row in rows],
        "classes": store.classes,
        "colours": PALETTE,
        "tile": _TILE,
        "columns": sheet[1] if sheet else 0,
    }
    return Map(
        method=used,
        still=data_uri(_still(places, labels), lossless=True),
        atlas=data_uri(sheet[0]) if sheet else "",
        data=data,
        legend=legend,
    )


def _still(
    places: np.ndarray, labels: np.ndarray, side: int = 1000, radius: float = 3.0
) -> Image.Image:
    """The points as a picture with a transparent ground, for pages without a script."""
    large, margin = 2 * side, 30
    image = Image.new("RGBA", (large, large), (128, 128, 128, 0))
    draw = ImageDraw.Draw(image)
    at = places / SIDE * (large - 2 * margin) + margin
    for (x, y), label in zip(at, labels, strict=True):
        r = 2 * radius
        draw.ellipse(
            (x - r, large - y - r, x + r, large - y + r),
            fill=PALETTE[max(int(label), 0) % len(PALETTE)],
        )
    return image.resize((side, side), Image.Resampling.LANCZOS)
