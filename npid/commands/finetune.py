from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from npid.options import Data, Device, Json, Model, SkipBad, Workers


def finetune(
    model: Model,
    data: Data,
    labels: Annotated[
        str,
        typer.Option(
            help="Parts of the labels, comma between them: 1%, 5 (images per class), a list's file."
        ),
    ] = "1%,2%,4%,10%,20%",
    preset: Annotated[
        str, typer.Option(help="small, or paper (70 epochs, batches of 256).")
    ] = "small",
    scratch: Annotated[
        bool, typer.Option(help="Train the same network from random weights too.")
    ] = True,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per part, each with its own subset.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first run.")] = 0,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of the preset's, least steps included.")
    ] = None,
    least_steps: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of the smallest parts: they are repeated until there are as many."
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Of the backbone, in place of the preset's.")
    ] = None,
    head_lr: Annotated[
        float | None, typer.Option(help="The classifier's, as a multiple of --lr.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the subsets here.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw accuracy against labels.")
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    json: Json = None,
) -> None:
    """Fine-tune a whole model on few labels, beside the same network from scratch."""
    from downstream import finetune as task
    from npid import curves
    from npid.console import progress_bar, table
    from npid.options import pick_device
    from zoo.data.sources import open_source

    least_steps = 0 if epochs is not None and least_steps is None else least_steps
    changes = {"lr": lr, "head_lr": head_lr, "epochs": epochs, "least_steps": least_steps}
    settings = replace(
        task.PRESETS[preset],
        labels=tuple(part.strip() for part in labels.split(",") if part.strip()),
        scratch=scratch,
        seeds=seeds,
        seed=seed,
        device=pick_device(device),
        workers=workers,
        skip_bad=skip_bad,
        **{key: value for key, value in changes.items() if value is not None},  # type: ignore[arg-type]
    )
    settings.check()
    train = open_source(data)
    sizes = [len(task.subset(train, part, seed)) for part in settings.labels]
    with progress_bar("finetune", task.images_to_train(settings, sizes)) as bar:
        results = task.run(model, data, settings, lists=lists, progress=bar.add)
    rows = curves.rows(results)
    table(
        f"{model} fine-tuned on {data}: top-1, %",
        ("labels", "images", *curves.inits(results)),
        rows,
    )
    if plot is not None:
        figure = curves.new_figure("--plot", figsize=(6, 4))
        curves.draw(figure.subplots(), results)
        figure.savefig(plot, dpi=150)
        typer.echo(f"drawn in {plot}")
    if json is not None:
        results.append(json)
        typer.echo(f"added to {json}")
