"""What a search found, as plain values: for tables, JSON and contact sheets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from downstream.features.extract import OnImages
from downstream.features.store import Store
from downstream.retrieval.contact_sheet import Cell, sheet
from downstream.retrieval.duplicates import duplicates
from downstream.retrieval.index import open_index
from downstream.retrieval.pictures import Pictures
from downstream.retrieval.query import Queries, neighbours

_TOP = 10
_LINES, _COLUMNS = 50, 16  # of a contact sheet


@dataclass(frozen=True, kw_only=True)
class Found:
    """Images that belong together.

    Attributes:
        query: what they are the nearest of; empty for duplicates.
        images: row, key, label, score (a cosine; none for duplicates), nearest first.
    """

    query: str = ""
    images: list[dict[str, Any]] = field(default_factory=list)


def entry(store: Store, row: int, score: float | None = None) -> dict[str, Any]:
    """One row as plain values."""
    label = int(store.labels[row])
    told: dict[str, Any] = {
        "row": row,
        "key": store.keys[row],
        "label": store.classes[label] if label >= 0 else None,
    }
    return told if score is None else {**told, "score": round(score, 4)}


def find(
    store: Store,
    queries: Queries,
    top: int | None = None,
    *,
    index: str | None = None,
    candidates: int | None = None,
) -> list[Found]:
    """The nearest rows of each query.

    Args:
        top: how many; by default 10, or all that there are in a smaller store.
        index: a kind of index that the store has; by default the search is exact.
    """
    most = len(store) - any(row >= 0 for row in queries.own)
    opened = open_index(store, index) if index else None
    scores, rows = neighbours(
        store, queries, top or min(_TOP, most), index=opened, candidates=candidates
    )
    return [
        Found(
            query=name, images=[entry(store, i, s) for i, s in zip(at, some, strict=True) if i >= 0]
        )
        for name, at, some in zip(queries.names, rows.tolist(), scores.tolist(), strict=True)
    ]


def find_duplicates(
    store: Store, threshold: float, progress: OnImages | None = None
) -> list[Found]:
    """Groups of near-duplicates; see :func:`duplicates`."""
    return [
        Found(images=[entry(store, row) for row in rows])
        for rows in duplicates(store, threshold, progress)
    ]


def draw(store: Store, found: Sequence[Found], path: Path, queries: Queries | None = None) -> None:
    """A contact sheet: a line per query, which comes first and is framed, or per group of duplicates."""
    pictures = Pictures(store)
    lines: list[list[Cell]] = []
    for number, group in enumerate(found[:_LINES]):
        first = [(queries.image(number, pictures), group.query)] if queries else []
        lines.append(
            [*first, *((pictures.image(i["row"]), _caption(i)) for i in group.images[:_COLUMNS])]
        )
    sheet(lines, path, frame_first=queries is not None)


def _caption(image: dict[str, Any]) -> str:
    told = [f"{image['score']:.3f}"] if "score" in image else []
    return " ".join([*told, image["label"] or ""]).strip() + "\n" + image["key"]
