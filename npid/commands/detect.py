"""``npid detect``: train a detector on a model."""

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
    from downstream.detection import Detect, DetectConfig
    from downstream.task import TaskInputs
    from npid.console import progress_bar, table
    from npid.options import pick_device

    config = DetectConfig(
        options=tuple(options or ()),
        out=out,
        config_file=config_file,
        scratch=scratch,
        resume=resume,
        eval_only=eval_only,
        pictures=pictures,
        seed=seed,
        device=pick_device(device),
        workers=workers,
    )
    config.check()
    task = Detect()
    inputs = TaskInputs(model, data)
    with progress_bar("detect", task.num_images(inputs, config)) as bar:
        results = task.run(inputs, config, bar.add)
    shown = task.table(results)
    table(task.headline(inputs, config), shown.columns, shown.rows)
    if json is not None:
        results.append(json)
        typer.echo(f"added to {json}")
