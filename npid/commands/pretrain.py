import os
from pathlib import Path
from typing import Annotated

import typer

from npid.options import Device, SkipBad, Workers


def pretrain(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="Folder of images or parquet, or a name such as digits."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The run folder: checkpoint and metrics.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="paper-imagenet (default), paper-cifar10, cifar10-cpu, digits."),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="One of `npid list`.")] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Start from this model, with its backbone, input and dim."
        ),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="exact, nce, infonce or parametric.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any setting, as augment.hue=0.1; repeatable."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or begin it.")
    ] = False,
    change_processes: Annotated[
        bool,
        typer.Option(
            "--change-processes", help="Resume with another number of processes than before."
        ),
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Train nothing; show what a run takes in memory, arithmetic and network."
        ),
    ] = False,
    devices: Annotated[
        int | None, typer.Option(min=1, metavar="W", help="With --plan: how many train together.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="With --plan: how many images, in place of DATA."),
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Train a backbone without labels: every image is its own class."""
    from npid.options import pick_device
    from npid.planning import count_images, show_plan
    from npid.training import train
    from pretrain import PRESETS, override
    from zoo import SettingsError

    changes = {"backbone": backbone, "objective.name": objective, "epochs": epochs, "seed": seed}
    asked = {key: str(value) for key, value in changes.items() if value is not None}
    if init is not None:
        asked = _of_model(init) | asked
    if backbone is not None:
        asked["stem"] = "none"  # the backbone's own, unless --set says otherwise
    for pair in set_ or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set takes KEY=VALUE, got {pair!r}")
        asked[key.strip()] = value.strip()
    settings = override(PRESETS[preset or "paper-imagenet"], asked)
    place = (
        device if plan and device != "auto" else pick_device(device)
    )  # a plan may be for another machine
    if plan:
        return show_plan(settings, count_images(data, images, skip_bad), devices or 1, place)
    if devices is not None or images is not None:
        raise SettingsError(
            "--devices and --images only go with --plan; torchrun decides how many processes train"
        )
    if data is None or out is None:
        raise SettingsError(
            f"{'DATA' if data is None else '--out RUN'} is missing: npid pretrain DATA --out RUN"
        )
    run = train(
        data,
        out,
        settings,
        resume=resume,
        device=place,
        workers=workers,
        skip_bad=skip_bad,
        keep_settings=preset is not None or bool(asked),
        change_processes=change_processes,
    )
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"saved in {run}; `npid export {run} --to DIR` makes a model of it.")


def _of_model(init: str) -> dict[str, str]:
    """The settings that a run which starts from a model shares with it."""
    import zoo

    model = zoo.load(init)
    spec = model.input
    mean, std = (",".join(map(str, values)) for values in (spec.mean, spec.std))
    found: dict[str, object] = {
        "backbone": model.arch,
        "stem": model.stem,
        "dim": model.embed_dim,
        "mean": mean,
        "std": std,
    }
    return {key: str(value) for key, value in found.items()} | {
        "init": init,
        "augment.size": str(spec.size),
    }
