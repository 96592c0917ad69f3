"""The command ``npid search``."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npid.options import Device, Workers
from npid.printing import echo

if TYPE_CHECKING:
    from downstream.features.store import FeatureStore
    from downstream.retrieval.results import SearchResult

_LINES_SHOWN = 100  # of a table; --json has them all


def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE QUERY", help="QUERY is an image, a folder of images, or a key."
        ),
    ],
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="Find so many neighbours of each query; 10, or all of a smaller store."
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Search by this index of `npid index`; without it exactly."
        ),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Let the index propose so many rows.")
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="List near-duplicates; takes no QUERY.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(metavar="COSINE", help="Count images from this cosine as duplicates.")
    ] = 0.98,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw a contact sheet of what is found.")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write what is found as JSON."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Take the store's model from here, where it has moved.")
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Find the nearest images of a store.

    MODEL DATA in place of STORE embeds what is new in DATA into a store in the cache, and searches
    that.
    """
    from downstream.features.store import FeatureStore
    from downstream.retrieval.query import open_queries
    from downstream.retrieval.results import draw_results, find_duplicates, find_nearest
    from npid.console import progress_bar, table
    from npid.options import pick_device
    from zoo import SettingsError

    device = pick_device(device)
    store_words = words if duplicates else words[:-1]
    if len(store_words) not in (1, 2):
        raise SettingsError(
            "npid search takes STORE QUERY or MODEL DATA QUERY; with --duplicates no QUERY"
        )
    if len(store_words) == 1:
        store = FeatureStore.open(store_words[0])
    else:
        store = _update_cached_store(store_words[0], store_words[1], device, workers)
    queries = None
    if duplicates:
        with progress_bar("compare", len(store)) as bar:
            results = find_duplicates(store, threshold, bar.add)
        title = f"{len(results)} groups of images with cosines from {threshold}"
        columns, lines = _duplicate_lines(results)
    else:
        queries = open_queries(store, words[-1], model=model, device=device, workers=workers)
        results = find_nearest(store, queries, top, index=index, num_candidates=candidates)
        title = "nearest images"
        columns, lines = _nearest_lines(results)
    table(f"{store.folder}: {title}", columns, lines[:_LINES_SHOWN])
    if len(lines) > _LINES_SHOWN:
        num_hidden = len(lines) - _LINES_SHOWN
        echo(f"and {num_hidden} lines more; --json FILE writes them all")
    if json is not None:
        _write_json(json, store, results)
        echo(f"wrote {json}")
    if sheet is not None and results:
        draw_results(store, results, sheet, queries)
        echo(f"wrote {sheet}")


_Lines = tuple[tuple[str, ...], list[tuple[object, ...]]]  # the columns of a table and its lines


def _nearest_lines(results: Sequence[SearchResult]) -> _Lines:
    lines: list[tuple[object, ...]] = []
    for result in results:
        for match in result.images:
            lines.append((result.query, match.key, match.label or "", match.score))
    return ("query", "key", "label", "cosine"), lines


def _duplicate_lines(results: Sequence[SearchResult]) -> _Lines:
    lines: list[tuple[object, ...]] = []
    for number, result in enumerate(results, 1):
        for match in result.images:
            lines.append((number, match.key, match.label or ""))
    return ("group", "key", "label"), lines


def _write_json(path: Path, store: FeatureStore, results: Sequence[SearchResult]) -> None:
    from zoo.utils.files import write_text

    content = {
        "store": str(store.folder),
        "model_sha256": store.manifest.model_sha256,
        "found": [result.to_dict() for result in results],
    }
    write_text(path, json_.dumps(content, indent=1, ensure_ascii=False))


def _update_cached_store(model: str, data: str, device: str, workers: int) -> FeatureStore:
    """The store of DATA's features in the cache, brought up to date."""
    import hashlib

    import zoo
    from downstream.retrieval import EmbedConfig
    from downstream.retrieval.embed import embed_source
    from npid.console import progress_bar
    from zoo.data.sources import canonical_name, open_source
    from zoo.data.sources.builtin import cache_folder
    from zoo.models.model_dir import WEIGHTS, sha256

    weights = zoo.locate(model) / WEIGHTS
    if not weights.is_file():
        raise zoo.ModelError(
            f"{weights}: not found; MODEL DATA QUERY needs a model directory, or org/name"
        )
    identity = f"{sha256(weights)} {canonical_name(data)}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:20]
    out = cache_folder() / "stores" / name
    config = EmbedConfig(device=device, workers=workers)
    source = open_source(data)
    with progress_bar("embed", len(source)) as bar:
        return embed_source(model, source, out, config, bar.add)
