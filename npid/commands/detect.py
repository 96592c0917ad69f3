from pathlib import Path
from typing import Annotated

import typer

from npid.options import Device, Json, Model, Workers


def detect(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(metavar="VOC_ROOT", help="A VOC folder, a devkit, or one with COCO JSON."),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY VALUE]...", help="detectron2's settings: SOLVER.MAX_ITER 500."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder.")] = Path("detect"),
    config_file: Annotated[
        str | None,
        typer.Option(
            "--config-file", metavar="YAML", help="A file, or the name of a shipped config."
        ),
    ] = None,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Random weights, for comparison.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or begin it.")
    ] = False,
    eval_only: Annotated[
        bool, typer.Option("--eval-only", help="Score the run's newest checkpoint.")
    ] = False,
    pictures: Annotated[int, typer.Option(min=0, help="How many test images to draw.")] = 8,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    device: Device = "auto",
    workers: Workers = 0,
    json: Json = None,
) -> None:
    """Train a Faster R-CNN detector on a model, through detectron2."""
    from downstream.detection import task
    from npid.console import progress_bar, table
    from npid.options import pick_device

    settings = task.Settings(
        config_file=config_file,
        options=tuple(options or ()),
        scratch=scratch,
        resume=resume,
        eval_only=eval_only,
        pictures=pictures,
        seed=seed,
        device=pick_device(device),
        workers=workers,
    )
    cfg = task.configure(model, settings, out)
    with progress_bar("detect", cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH) as bar:
        results = task.run(model, data, out, settings, progress=bar.add)
    rows = [(name, 100 * value) for name, value in results.metrics.items()]
    table(f"Detection with {model} on {data}", ("metric", "%"), rows)
    typer.echo(f"pictures and metrics.json in {out}")
    if json is not None:
        results.append(json)
        typer.echo(f"added to {json}")
