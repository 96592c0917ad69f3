from typing import Annotated

import typer

from npid.options import Data, Device, Json, Model, SkipBad, Workers


def linear(
    model: Model,
    data: Data,
    layers: Annotated[str, typer.Option(help="Comma between them; all by default.")] = "",
    baselines: Annotated[bool, typer.Option("--baselines", help="Probe raw pixels and untrained weights too.")] = False,
    seed: Annotated[int, typer.Option(help="Of the held-out images and the untrained weights.")] = 0,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    json: Json = None,
) -> None:
    """Train a linear classifier on each layer of a frozen model."""
    from downstream import linear as task
    from npid.console import counter, table
    from npid.options import pick_device
    from zoo.sources import open_source

    settings = task.Settings(
        layers=tuple(name.strip() for name in layers.split(",") if name.strip()),
        untrained=baselines,
        pixels=baselines,
        seed=seed,
        device=pick_device(device),
        workers=workers,
        skip_bad=skip_bad,
    )
    total = (1 + baselines) * (len(open_source(data)) + len(open_source(data, "test")))
    with counter("features", total) as count:
        results = task.run(model, data, settings, progress=count.add)
    rows = [(name, 100 * value) for name, value in results.metrics.items()]
    table(f"Linear probes of {model} on {data}", ("layer", "top-1, %"), rows)
    if json is not None:
        results.append(json)
        typer.echo(f"added to {json}")
