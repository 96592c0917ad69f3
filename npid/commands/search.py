import json as json_
from pathlib import Path
from typing import Annotated

import typer

from npid.options import Device, Workers

_SHOWN = 100  # lines of a table; --json has them all


def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE QUERY", help="QUERY is an image, a folder of images, or a key."
        ),
    ],
    top: Annotated[
        int | None, typer.Option(min=1, help="Neighbours per query; 10, or all of a smaller store.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="KIND", help="Of `npid index`; exact search without.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Rows that the index proposes.")
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="List near-duplicates; takes no QUERY.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(metavar="COSINE", help="From which images are duplicates.")
    ] = 0.98,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Write a contact sheet.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write what was found.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The store's model, where it has moved.")
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Find the nearest images of a store.

    MODEL DATA in place of STORE embeds what is new in DATA into a store in the cache, and searches that.
    """
    from dataclasses import asdict

    from downstream.features.store import Store
    from downstream.retrieval import results as found
    from downstream.retrieval.query import queries_of
    from npid.console import progress_bar, table
    from npid.options import pick_device
    from zoo import SettingsError
    from zoo.utils.files import write_text

    device = pick_device(device)
    place, query = (words, None) if duplicates else (words[:-1], words[-1])
    if len(place) not in (1, 2):
        raise SettingsError(
            "npid search takes STORE QUERY or MODEL DATA QUERY; with --duplicates no QUERY"
        )
    store = (
        Store.open(place[0]) if len(place) == 1 else _cached(place[0], place[1], device, workers)
    )
    queries = (
        queries_of(store, query, model=model, device=device, workers=workers)
        if query is not None
        else None
    )
    if queries is not None:
        results = found.find(store, queries, top, index=index, candidates=candidates)
        columns: tuple[str, ...] = ("query", "key", "label", "cosine")
        lines: list[tuple] = [
            (r.query, i["key"], i["label"] or "", i["score"]) for r in results for i in r.images
        ]
    else:
        with progress_bar("compare", len(store)) as bar:
            results = found.find_duplicates(store, threshold, bar.add)
        columns = ("group", "key", "label")
        lines = [
            (n, i["key"], i["label"] or "") for n, r in enumerate(results, 1) for i in r.images
        ]
    what = (
        "nearest images"
        if queries
        else f"{len(results)} groups of images with cosines from {threshold}"
    )
    table(f"{store.folder}: {what}", columns, lines[:_SHOWN])
    if len(lines) > _SHOWN:
        typer.echo(f"and {len(lines) - _SHOWN} lines more; --json FILE writes them all")
    if json is not None:
        told = {"store": str(store.folder), "model_sha256": store.manifest.model_sha256}
        write_text(
            json,
            json_.dumps(
                {**told, "found": [asdict(r) for r in results]}, indent=1, ensure_ascii=False
            ),
        )
        typer.echo(f"wrote {json}")
    if sheet is not None and results:
        found.draw(store, results, sheet, queries)
        typer.echo(f"wrote {sheet}")


def _cached(model: str, data: str, device: str, workers: int):
    """The store of DATA's features in the cache, brought up to date."""
    import hashlib

    import zoo
    from downstream import retrieval
    from npid.console import progress_bar
    from zoo.data.sources import canonical_name, open_source
    from zoo.data.sources.builtin import cache_folder
    from zoo.models.model_dir import WEIGHTS, sha256

    weights = zoo.locate(model) / WEIGHTS
    if not weights.is_file():
        raise zoo.ModelError(
            f"{weights}: not found; MODEL DATA QUERY needs a model directory, or org/name"
        )
    name = hashlib.sha256(f"{sha256(weights)} {canonical_name(data)}".encode()).hexdigest()[:20]
    out = cache_folder() / "stores" / name
    with progress_bar("embed", len(open_source(data))) as bar:
        settings = retrieval.EmbedSettings(device=device, workers=workers)
        return retrieval.embed(model, data, out, settings, progress=bar.add)
