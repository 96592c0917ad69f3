"""A store's part of the report: a gallery of neighbours, a confusion matrix of votes, and a map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from downstream.report.confusion import Confusion, confusion
from downstream.report.neighbours import NeighbourVotes, vote
from downstream.report.pictures import Album, atlas, data_uri, thumbnail
from downstream.report.projection import flatten, to_square
from downstream.retrieval import FeatureStore
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
MAP_SIDE = 8000
"""Side of the map, in its own units."""
_TILE_SIDE = 32
_THUMBNAIL_SIDE = 72
_MAX_LEGEND = 40  # classes that the legend lists
_STILL_SIDE = 1000
_STILL_RADIUS = 3.0
_STILL_MARGIN = 15


@dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """One image of the gallery.

    Attributes:
        key: of the image in its data set.
        label: name of its class, or empty.
        uri: the image; empty where it cannot be read any more.
        right: whether it speaks for a right vote; None where that cannot be said.
        cosine: to the query.
    """

    key: str
    label: str
    uri: str
    right: bool | None = None
    cosine: float = 1.0


@dataclass(frozen=True, kw_only=True)
class GalleryLine:
    """A query and its nearest images.

    Attributes:
        query: the image that was asked about.
        vote: name of the class that the neighbours voted for.
        near: the nearest images, the nearest first.
    """

    query: GalleryImage
    vote: str
    near: list[GalleryImage]


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """Points in two dimensions.

    Attributes:
        method: that brought them there.
        still: a picture of them, for pages without a script.
        atlas: their thumbnails as one image, or empty.
        data: what the script draws.
        legend: names of classes and their colours.
    """

    method: str
    still: str
    atlas: str
    data: dict[str, Any]
    legend: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class StoreSection:
    """All that the page shows of a store.

    Attributes:
        name: the store's folder.
        data: the data sets and splits in it.
        store: the store itself.
        accuracy: of the votes, 0–1; None without labels.
        vote: of the nearest neighbours.
        gallery: queries with their neighbours.
        confusion: of the votes; None without labels.
        map: of the features.
        faults: why pictures are missing, a sentence for each data set.
    """

    name: str
    data: str
    store: FeatureStore
    accuracy: float | None
    vote: NeighbourVotes
    gallery: list[GalleryLine]
    confusion: Confusion | None
    map: FeatureMap
    faults: list[str]


def store_section(folder: Path, *, method: str, points: int, lines: int) -> StoreSection:
    """Gather all that the page shows of a store.

    Args:
        folder: of the store.
        method: of the map: one of :data:`downstream.report.projection.METHODS`.
        points: on the map at most; a sample of more.
        lines: of the gallery.

    Raises:
        DataError: if it is no store or has fewer than two rows.
    """
    store = FeatureStore.open(folder)
    if len(store) < 2:
        raise DataError(
            f"{folder}: a report needs a store of two rows or more, this one has {len(store)}"
        )
    album = Album(store)
    votes = vote(store)
    accuracy = None
    matrix = None
    if votes.predicted is not None:
        truth = np.asarray(store.labels)[votes.queries]
        labelled = truth >= 0
        truth = truth[labelled]
        predicted = votes.predicted[labelled]
        accuracy = float((truth == predicted).mean()) if len(truth) else None
        counts = np.zeros((len(store.classes), len(store.classes)), int)
        np.add.at(counts, (truth, predicted), 1)
        title = f"vote of {votes.k} neighbours, {folder.name}"
        matrix = confusion(title, counts.tolist(), store.classes)
    gallery_lines = gallery(store, album, votes, lines)
    feature_map = draw_map(store, album, method, points)
    return StoreSection(
        name=folder.name,
        data=", ".join(f"{part.data} ({part.split})" for part in store.manifest.parts),
        store=store,
        accuracy=accuracy,
        vote=votes,
        gallery=gallery_lines,
        confusion=matrix,
        map=feature_map,
        faults=list(album.faults.values()),
    )


def _class_name(store: FeatureStore, label: int) -> str:
    return store.classes[label] if 0 <= label < len(store.classes) else ""


def gallery(
    store: FeatureStore, album: Album, votes: NeighbourVotes, lines: int
) -> list[GalleryLine]:
    """Show sampled queries with their neighbours.

    Args:
        store: whose rows they are.
        album: their images.
        votes: of which queries are sampled.
        lines: how many queries; half of them had a wrong vote, where there are enough of both.
    """
    order = np.random.default_rng(1).permutation(len(votes.queries))
    if votes.predicted is not None:
        is_wrong = store.labels[votes.queries] != votes.predicted
        order = _balanced(order, is_wrong, lines)
    gallery_lines = []
    for position in order[:lines].tolist():
        gallery_lines.append(_gallery_line(store, album, votes, position))
    return gallery_lines


def _balanced(order: NDArray[Any], is_wrong: NDArray[Any], count: int) -> NDArray[Any]:
    """The first right and the first wrong queries, half of each where there are enough."""
    right = order[~is_wrong[order]]
    wrong = order[is_wrong[order]]
    num_wrong = min(len(wrong), max(count // 2, count - len(right)))
    return np.concatenate([right[: count - num_wrong], wrong[:num_wrong]])


def _gallery_line(
    store: FeatureStore, album: Album, votes: NeighbourVotes, position: int
) -> GalleryLine:
    query = int(votes.queries[position])
    truth = int(store.labels[query])
    is_labelled = truth >= 0
    near = []
    for row, cosine in zip(votes.rows[position], votes.cosines[position], strict=True):
        right = int(store.labels[row]) == truth if is_labelled else None
        near.append(_gallery_image(store, album, int(row), right, float(cosine)))
    vote_name = ""
    vote_right = None
    if votes.predicted is not None:
        predicted = int(votes.predicted[position])
        vote_name = _class_name(store, predicted)
        vote_right = predicted == truth if is_labelled else None
    return GalleryLine(
        query=_gallery_image(store, album, query, vote_right), vote=vote_name, near=near
    )


def _gallery_image(
    store: FeatureStore, album: Album, row: int, right: bool | None, cosine: float = 1.0
) -> GalleryImage:
    image = album.image(row)
    return GalleryImage(
        key=store.keys[row],
        label=_class_name(store, int(store.labels[row])),
        uri="" if image is None else data_uri(thumbnail(image, _THUMBNAIL_SIDE)),
        right=right,
        cosine=cosine,
    )


def draw_map(store: FeatureStore, album: Album, method: str, points: int) -> FeatureMap:
    """Bring a sample of the rows to two dimensions, in random order so that no class hides another.

    Args:
        store: whose rows they are.
        album: their images.
        method: one of :data:`downstream.report.projection.METHODS`.
        points: how many rows at most.
    """
    rows = np.random.default_rng(2).permutation(len(store))[:points]
    flat, used_method = flatten(store.take(rows).numpy(), method)
    positions = to_square(flat, MAP_SIDE)
    labels = np.asarray(store.labels)[rows]
    sheet = atlas(album, rows.tolist(), _TILE_SIDE)
    legend = []
    for label, name in enumerate(store.classes[:_MAX_LEGEND]):
        legend.append((name, _colour(label)))
    data = {
        "side": MAP_SIDE,
        "x": positions[:, 0].tolist(),
        "y": (MAP_SIDE - positions[:, 1]).tolist(),
        "label": labels.tolist(),
        "keys": [store.keys[row] for row in rows.tolist()],
        "classes": store.classes,
        "colours": PALETTE,
        "tile": _TILE_SIDE,
        "columns": sheet[1] if sheet else 0,
    }
    return FeatureMap(
        method=used_method,
        still=data_uri(_still(positions, labels), lossless=True),
        atlas=data_uri(sheet[0]) if sheet else "",
        data=data,
        legend=legend,
    )


def _colour(label: int) -> str:
    return PALETTE[max(label, 0) % len(PALETTE)]


def _still(positions: NDArray[np.int64], labels: NDArray[np.int32]) -> Image.Image:
    """Draw N×2 points on a transparent ground, for pages without a script."""
    scale = 2  # drawn large and made smaller, for smooth edges
    side = scale * _STILL_SIDE
    radius = scale * _STILL_RADIUS
    margin = scale * _STILL_MARGIN
    image = Image.new("RGBA", (side, side), (128, 128, 128, 0))
    draw = ImageDraw.Draw(image)
    pixels = positions / MAP_SIDE * (side - 2 * margin) + margin
    for (x, up), label in zip(pixels.tolist(), labels.tolist(), strict=True):
        y = side - up
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=_colour(label))
    return image.resize((_STILL_SIDE, _STILL_SIDE), Image.Resampling.LANCZOS)
