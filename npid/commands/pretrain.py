"""``npid pretrain``."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from npid.options import Device, SkipBad, Workers
from npid.printing import echo


def pretrain(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="A folder of images or parquet, or a name such as digits."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Keep checkpoint and metrics in this run folder."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Start from these settings: paper-imagenet (the default), paper-cifar10, "
            "cifar10-cpu or digits.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Train this backbone, one that `npid list` shows."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Start from this model's weights, with its backbone, input and embed_dim.",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Minimise this loss, as exact or nce; see `npid list`."),
    ] = None,
    objective: Annotated[str | None, typer.Option(hidden=True, help="As --loss.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Make so many passes over the images.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change any setting, as in --set augment.hue=0.1; may be repeated.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Draw everything that is random from this seed.")
    ] = None,
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
            "--plan",
            help="Train nothing; show what a run takes in memory, arithmetic and network.",
        ),
    ] = False,
    devices: Annotated[
        int | None,
        typer.Option(min=1, metavar="W", help="With --plan: plan for so many devices together."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="N", help="With --plan: plan for so many images, in place of DATA."
        ),
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Train a backbone without labels: every image is its own class."""
    from npid.options import pick_device
    from npid.planning import count_images, show_plan
    from npid.training import train
    from pretrain import PRESETS, override, with_changes
    from zoo import SettingsError

    requested = _requested_changes(
        init=init, backbone=backbone, loss=loss or objective, epochs=epochs, seed=seed
    )
    texts = _parse_pairs(set_ or [])
    config = with_changes(PRESETS[preset or "paper-imagenet"], requested)
    config = override(config, texts)
    if plan and device != "auto":
        chosen_device = device  # a plan may be for another machine
    else:
        chosen_device = pick_device(device)
    if plan:
        show_plan(config, count_images(data, images, skip_bad), devices or 1, chosen_device)
        return
    if devices is not None or images is not None:
        raise SettingsError(
            "--devices and --images only go with --plan; torchrun decides how many processes train"
        )
    if data is None or out is None:
        missing = "DATA" if data is None else "--out RUN"
        raise SettingsError(f"{missing} is missing: npid pretrain DATA --out RUN")
    run = train(
        data,
        out,
        config,
        resume=resume,
        device=chosen_device,
        workers=workers,
        skip_bad=skip_bad,
        same_settings=preset is not None or bool(requested) or bool(texts),
        change_processes=change_processes,
    )
    if os.environ.get("RANK", "0") == "0":
        echo(f"saved in {run}; `npid export {run} --to DIR` makes a model of it.")


def _requested_changes(
    *,
    init: str | None,
    backbone: str | None,
    loss: str | None,
    epochs: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Collect the settings that have an option of their own, by dotted name."""
    changes: dict[str, Any] = {}
    if init is not None:
        changes |= _settings_of_model(init)
    if backbone is not None:
        changes["backbone"] = backbone
        changes["stem"] = None  # the backbone's own, unless --set says otherwise
    if loss is not None:
        changes["loss.name"] = loss
    if epochs is not None:
        changes["epochs"] = epochs
    if seed is not None:
        changes["seed"] = seed
    return changes


def _settings_of_model(init: str) -> dict[str, Any]:
    """Find the settings that a run which starts from a model shares with it."""
    import zoo

    model = zoo.load(init)
    return {
        "init": init,
        "backbone": model.arch,
        "stem": model.stem,
        "embed_dim": model.embed_dim,
        "mean": model.input.mean,
        "std": model.input.std,
        "augment.size": model.input.size,
    }


def _parse_pairs(pairs: list[str]) -> dict[str, str]:
    """Split what --set was given.

    Raises:
        SettingsError: For a pair without an equals sign.
    """
    from zoo import SettingsError

    texts: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set takes KEY=VALUE, got {pair!r}")
        texts[key.strip()] = value.strip()
    return texts
