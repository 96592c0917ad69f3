from pathlib import Path
from typing import Annotated, Any

import typer


def report(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Run folders, model directories, metrics.json files, feature stores."),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="HTML", help="The page to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Of the page.")] = "npid report",
    method: Annotated[
        str, typer.Option("--map", help="pca, umap (needs umap-learn), or auto: umap if there.")
    ] = "auto",
    points: Annotated[int, typer.Option(min=2, help="Images on a map at most.")] = 10_000,
) -> None:
    """Make one self-contained page of runs, results and features."""
    from dataclasses import asdict

    from downstream.report import write
    from downstream.results import command_line
    from pretrain.checkpoint import CHECKPOINT, read_position

    def describe(run: Path) -> dict[str, Any]:
        return asdict(read_position(run)) if (run / CHECKPOINT).is_file() else {}

    found = write(paths, to, describe=describe, title=title, command=command_line(), method=method, points=points)
    what = {"run": found.runs, "model": found.models, "result": found.results, "feature store": found.stores}
    counts = [f"{len(some)} {name}{'s' if len(some) > 1 else ''}" for name, some in what.items() if some]
    typer.echo(f"{to}: {to.stat().st_size / 1e6:.1f} MB from {', '.join(counts)}")
