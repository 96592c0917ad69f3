"""The command ``npid index``."""

from pathlib import Path
from typing import Annotated

import typer

from downstream.task import LARGEST_SEED


def index(
    store: Annotated[
        Path, typer.Argument(metavar="DIR", help="The store, written by `npid embed`.")
    ],
    kind: Annotated[
        str, typer.Option(help="Build this kind of index: flat, sq8, binary, ivf or hnsw.")
    ] = "ivf",
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=LARGEST_SEED,
            help="Draw the training sample and the measured queries from this seed.",
        ),
    ] = 0,
) -> None:
    """Build a compact index of a store and measure it against exact search."""
    from downstream.retrieval import FeatureStore
    from downstream.retrieval.index import build_index
    from npid.console import progress_bar, table

    opened = FeatureStore.open(store)
    with progress_bar("index", len(opened)) as bar:
        info = build_index(opened, kind, seed=seed, on_progress=bar.add)
    rows = [
        ("recall@10 after re-ranking", f"{info.recall:.3f}"),
        ("recall@10 before", f"{info.recall_without:.3f}"),
        ("MB per million images", f"{info.bytes_per_million / 1e6:.1f}"),
        ("candidates", str(info.candidates)),
    ]
    if info.probes:
        rows.append(("probes", str(info.probes)))
    rows.append(("built in, s", f"{info.seconds:.1f}"))
    table(f"{info.factory} of {store}: {info.rows:,} rows", ("", kind), rows)
