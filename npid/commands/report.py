from pathlib import Path
from typing import Annotated, Any

import typer


def report(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Run folders, model directories, metrics.json files, feature stores.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="HTML", help="The page to write.")] = Path(
        "report.html"
    ),
    title: Annotated[str, typer.Option(help="Of the page.")] = "npid report",
    method: Annotated[
        str, typer.Option("--map", help="pca, tsne, umap (needs umap-learn), or auto: umap or pca.")
    ] = "auto",
    points: Annotated[int, typer.Option(min=2, help="Images on a map at most.")] = 10_000,
) -> None:
    """Make one self-contained page of runs, results and features."""
    from downstream.report import write
    from pretrain.checkpoint import CHECKPOINT, read_progress
    from zoo.results import command_line

    def describe(run: Path) -> dict[str, Any]:
        if not (run / CHECKPOINT).is_file():
            return {}
        at = read_progress(run)
        seconds = round(at.seconds, 1)
        return {
            "data": at.data,
            "epochs": at.epoch,
            "seconds": seconds,
            "versions": at.versions,
            "settings": at.settings,
        }

    found = write(
        paths,
        to,
        describe=describe,
        title=title,
        command=command_line(),
        method=method,
        points=points,
    )
    what = {
        "runs": len(found.runs),
        "models": len(found.models),
        "results": len(found.results),
        "feature stores": len(found.stores),
    }
    counts = ", ".join(f"{name}: {count}" for name, count in what.items() if count)
    typer.echo(f"{to}: {to.stat().st_size / 1e6:.1f} MB ({counts})")
