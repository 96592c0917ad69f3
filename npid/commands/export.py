from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder that `npid pretrain --out` made.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where the model goes; absent or empty.")],
    bank: Annotated[bool, typer.Option("--bank", help="Save the memory bank too.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the folder if it exists.")
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights in half precision: half the size.")
    ] = False,
    license: Annotated[
        str | None, typer.Option(help="Of the weights, for the card: apache-2.0, say.")
    ] = None,
) -> None:
    """Write a run's backbone as a model directory (safetensors and config.json)."""
    from pretrain.export import export as write
    from zoo.utils.files import format_bytes

    write(run, to, with_bank=bank, replace_old=replace, half=half, license=license)
    for file in sorted(to.iterdir()):
        typer.echo(f"{file}  {format_bytes(file.stat().st_size)}")
    typer.echo(f'zoo.load("{to}") loads it.')
