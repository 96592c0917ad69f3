"""What a search gives, as plain values: for tables, JSON and contact sheets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from downstream.features.extract import OnImages
from downstream.features.store import FeatureStore
from downstream.retrieval.contact_sheet import Cell, write_contact_sheet
from downstream.retrieval.duplicates import duplicate_groups
from downstream.retrieval.images import StoredImages
from downstream.retrieval.index import open_index
from downstream.retrieval.query import Queries, search_others

_TOP = 10
_SHEET_LINES = 50
_SHEET_COLUMNS = 16


@dataclass(frozen=True, kw_only=True)
class Match:
    """A stored image that was found.

    Attributes:
        row: its row in the store.
        key: the image's identity in its data set.
        label: name of its class; None where it has none.
        score: cosine to the query; None for duplicates.
    """

    row: int
    key: str
    label: str | None
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without a score where there is none."""
        values: dict[str, Any] = {"row": self.row, "key": self.key, "label": self.label}
        if self.score is not None:
            values["score"] = self.score
        return values


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Images that belong together.

    Attributes:
        query: what they are the nearest of; empty for duplicates.
        images: nearest first.
    """

    query: str = ""
    images: list[Match] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"query": self.query, "images": [match.to_dict() for match in self.images]}


def _match(store: FeatureStore, row: int, score: float | None = None) -> Match:
    rounded = None if score is None else round(score, 4)
    return Match(row=row, key=store.keys[row], label=store.class_name(row), score=rounded)


def find_nearest(
    store: FeatureStore,
    queries: Queries,
    top: int | None = None,
    *,
    index: str | None = None,
    num_candidates: int | None = None,
) -> list[SearchResult]:
    """Find the nearest images of each query.

    Args:
        store: the rows.
        queries: see :func:`downstream.retrieval.query.open_queries`.
        top: how many; by default 10, or all that there are in a smaller store.
        index: a kind of index that the store has; by default the search is exact.
        num_candidates: how many the index proposes.

    Raises:
        SettingsError: if ``top`` is more than there are.
        DataError: if the index does not belong to the store.
    """
    if top is None:
        num_others = len(store) - 1 if queries.any_stored else len(store)
        top = min(_TOP, num_others)
    opened = open_index(store, index) if index else None
    scores, rows = search_others(store, queries, top, index=opened, num_candidates=num_candidates)
    results = []
    for name, own_rows, own_scores in zip(
        queries.names, rows.tolist(), scores.tolist(), strict=True
    ):
        matches = []
        for row, score in zip(own_rows, own_scores, strict=True):
            if row >= 0:
                matches.append(_match(store, row, score))
        results.append(SearchResult(query=name, images=matches))
    return results


def find_duplicates(
    store: FeatureStore, threshold: float, on_progress: OnImages | None = None
) -> list[SearchResult]:
    """Find groups of near-duplicates.

    Args:
        store: the rows.
        threshold: cosine from which two images are duplicates; see :func:`duplicate_groups`.
        on_progress: called with the number of rows at a time.

    Raises:
        SettingsError: if the threshold is out of range.
    """
    results = []
    for rows in duplicate_groups(store, threshold, on_progress):
        results.append(SearchResult(images=[_match(store, row) for row in rows]))
    return results


def draw_results(
    store: FeatureStore,
    results: Sequence[SearchResult],
    path: Path,
    queries: Queries | None = None,
) -> None:
    """Draw a contact sheet: a line for each query, which is framed, or each group of duplicates.

    Args:
        store: that was searched.
        results: of the search; the first 50 are drawn, with 16 images each at most.
        path: of the PNG.
        queries: that the results belong to; None for duplicates.

    Raises:
        DataError: if an image is no longer where it was.
        WriteError: if the file cannot be written.
    """
    stored = StoredImages(store)
    lines: list[list[Cell]] = []
    for number, result in enumerate(results[:_SHEET_LINES]):
        line: list[Cell] = []
        if queries is not None:
            line.append((queries.image(number, stored), result.query))
        for match in result.images[:_SHEET_COLUMNS]:
            line.append((stored.image(match.row), _caption(match)))
        lines.append(line)
    write_contact_sheet(lines, path, frame_first=queries is not None)


def _caption(match: Match) -> str:
    words = []
    if match.score is not None:
        words.append(f"{match.score:.3f}")
    if match.label is not None:
        words.append(match.label)
    return " ".join(words).strip() + "\n" + match.key
