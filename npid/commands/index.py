from pathlib import Path
from typing import Annotated

import typer


def index(
    store: Annotated[Path, typer.Argument(metavar="DIR", help="A store that `npid embed` wrote.")],
    kind: Annotated[str, typer.Option(help="flat, sq8, binary, ivf or hnsw.")] = "ivf",
    seed: Annotated[int, typer.Option(help="Of the training sample and the measured queries.")] = 0,
) -> None:
    """Build a compact index of a store and measure it against exact search."""
    from downstream.retrieval import Store
    from downstream.retrieval.index import build_index
    from npid.console import progress_bar, table

    opened = Store.open(store)
    with progress_bar("index", len(opened)) as bar:
        about = build_index(opened, kind, seed=seed, progress=bar.add)
    rows = [
        ("recall@10 after re-ranking", f"{about.recall:.3f}"),
        ("recall@10 before", f"{about.recall_without:.3f}"),
        ("MB per million images", f"{about.bytes_per_million / 1e6:.1f}"),
        ("candidates", str(about.candidates)),
        *([("probes", str(about.probes))] if about.probes else []),
        ("built in, s", f"{about.seconds:.1f}"),
    ]
    table(f"{about.factory} of {store}: {about.rows:,} rows", ("", kind), rows)
