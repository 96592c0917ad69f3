from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Another project's checkpoint, or a model directory."),
    ],
    to: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="What to write: a folder, or a file for the other formats."
        ),
    ],
    arch: Annotated[
        str | None, typer.Option(help="The backbone, where the file does not tell.")
    ] = None,
    stem: Annotated[
        str | None, typer.Option(help="Its stem, where the file does not tell.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="safetensors, detectron2 or torchvision.")
    ] = "safetensors",
) -> None:
    """Read another project's checkpoint without running what is in it, and say what became of every tensor."""
    from zoo.interop.convert import convert as write

    for line in write(source, to, arch=arch, stem=stem, format=format).lines():
        typer.echo(line)
