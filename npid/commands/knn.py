from typing import Annotated

import typer

from npid.options import Data, Device, Json, Model, SkipBad, Workers


def knn(
    model: Model,
    data: Data,
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours that vote.")] = 200,
    temperature: Annotated[float, typer.Option(help="τ of the vote's weights exp(cos/τ).")] = 0.07,
    cache: Annotated[bool, typer.Option(help="Keep embeddings on disk for the next time.")] = True,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    json: Json = None,
) -> None:
    """Score a model with a weighted vote of the nearest training images; nothing is trained."""
    from downstream import knn as task
    from npid.console import progress_bar, table
    from npid.options import pick_device
    from zoo.data.sources import open_source

    settings = task.Settings(
        k=k,
        temperature=temperature,
        cache=cache,
        device=pick_device(device),
        workers=workers,
        skip_bad=skip_bad,
    )
    total = len(open_source(data)) + len(open_source(data, "test"))
    with progress_bar("embed", total) as bar:
        results = task.run(model, data, settings, progress=bar.add)
    rows = [(name, 100 * value) for name, value in results.metrics.items()]
    table(f"kNN of {model} on {data}: k={k}, τ={temperature}", ("metric", "%"), rows)
    if json is not None:
        results.append(json)
        typer.echo(f"added to {json}")
