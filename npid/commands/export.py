"""npid export: a run becomes a model directory."""

from pathlib import Path
from typing import Annotated

import typer

from npid.printing import echo


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder that `npid pretrain --out` made.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; absent or empty.")],
    bank: Annotated[bool, typer.Option("--bank", help="Save the memory bank too.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the folder if it exists.")
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights in half precision: half the size.")
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(help="Licence of the weights, for the card, such as apache-2.0."),
    ] = None,
) -> None:
    """Write a run's backbone as a model directory (safetensors and config.json)."""
    from npid.console import print_files
    from pretrain.export import export as export_run

    export_run(run, to, with_bank=bank, replace_old=replace, half=half, license=license)
    print_files(to)
    echo(f'zoo.load("{to}") loads it.')
