"""``npid report``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from npid.printing import echo


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
    title: Annotated[str, typer.Option(help="The title of the page.")] = "npid report",
    method: Annotated[
        str,
        typer.Option(
            "--map",
            help="How maps are made: pca, tsne, umap (needs umap-learn), or auto: umap or pca.",
        ),
    ] = "auto",
    points: Annotated[int, typer.Option(min=2, help="Images on a map at most.")] = 10_000,
) -> None:
    """Make one self-contained page of runs, results and features."""
    from downstream.report import write
    from zoo.results import command_line

    inputs = write(
        paths,
        to,
        describe=_describe_run,
        title=title,
        command=command_line(),
        method=method,
        points=points,
    )
    sizes = {
        "runs": len(inputs.runs),
        "models": len(inputs.models),
        "results": len(inputs.results),
        "feature stores": len(inputs.stores),
    }
    counts = [f"{name}: {count}" for name, count in sizes.items() if count]
    echo(f"{to}: {to.stat().st_size / 1e6:.1f} MB ({', '.join(counts)})")


def _describe_run(run: Path) -> dict[str, Any]:
    """Say how a run was made; empty where it has no checkpoint."""
    from pretrain.checkpoint import CHECKPOINT, read_progress

    if not (run / CHECKPOINT).is_file():
        return {}
    progress = read_progress(run)
    return {
        "data": progress.data,
        "epochs": progress.epoch,
        "seconds": round(progress.seconds, 1),
        "versions": progress.versions,
        "settings": progress.settings,
    }
