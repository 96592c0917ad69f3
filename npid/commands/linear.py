from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from npid.options import Data, Device, Json, Model, SkipBad, Workers

if TYPE_CHECKING:
    from zoo.results import Results


def linear(
    model: Model,
    data: Data,
    preset: Annotated[
        str,
        typer.Option(
            help="lbfgs (logistic regression), imagenet, places205, places365, pooled or svm."
        ),
    ] = "lbfgs",
    layers: Annotated[
        str, typer.Option(help="Comma between them, also pooled, embedding; the preset's.")
    ] = "",
    sweep: Annotated[
        str,
        typer.Option(
            help="Learning rates (λ for lbfgs, C for svm) to choose from on held-out training images."
        ),
    ] = "",
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the preset's.")] = None,
    crops: Annotated[
        bool | None,
        typer.Option("--crops/--no-crops", help="SGD on random crops, or on kept features."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Probe untrained weights and raw pixels too.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs: held-out images, first and untrained weights.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of the first run.")] = 0,
    cache: Annotated[bool, typer.Option(help="Keep features on disk for the next time.")] = True,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    json: Json = None,
) -> None:
    """Train a linear classifier on each layer of a frozen model."""
    from downstream import linear as task
    from npid.console import progress_bar, table
    from npid.options import pick_device
    from zoo.data.sources import open_source

    how = task.PRESETS[preset]
    if epochs is not None:
        how = how.of_length(epochs)
    how = replace(
        how,
        layers=_parts(layers) or how.layers,
        sweep=_numbers(sweep) or how.sweep,
        crops=how.crops if crops is None else crops,
        untrained=baselines,
        seeds=seeds,
        seed=seed,
        cache=cache,
        device=pick_device(device),
        workers=workers,
        skip_bad=skip_bad,
    )
    how = replace(how, pixels=baselines and not (how.solver == "sgd" and how.crops))
    how.check()
    with progress_bar(
        "linear", task.images_to_see(how, len(open_source(data)), len(open_source(data, "test")))
    ) as bar:
        results = task.run(model, data, how, progress=bar.add)
    columns, rows = _rows(results)
    table(f"Linear probes of {model} on {data}: {preset}", columns, rows)
    if json is not None:
        results.append(json)
        typer.echo(f"added to {json}")


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[float, ...]:
    from zoo import SettingsError

    try:
        return tuple(map(float, _parts(text)))
    except ValueError:
        raise SettingsError(f"--sweep takes numbers, comma between them, got {text!r}") from None


def _rows(results: "Results") -> tuple[list[str], list[tuple]]:
    """A line per layer: accuracies in percent, with their spread where there are more seeds, and what was chosen."""
    from npid.curves import cell

    rows = []
    kinds = [
        kind for kind in ("top1", "top5") if any(name.endswith(kind) for name in results.metrics)
    ]
    for name, runs in results.details.items():
        cells = [cell(results, f"{name}/{kind}") for kind in kinds]
        rows.append((name, *cells, ", ".join(sorted({f"{run['chosen']:g}" for run in runs}))))
    names = {"lbfgs": "λ", "svm": "C"}
    return [
        "layer",
        *(f"{kind[:3]}-{kind[3:]}, %" for kind in kinds),
        names.get(results.settings["solver"], "rate"),
    ], rows
