"""npid convert: another project's checkpoint becomes a model directory, or the other way round."""

from pathlib import Path
from typing import Annotated

import typer

from npid.printing import echo


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
        str | None, typer.Option(help="Name of the backbone, where the file does not tell.")
    ] = None,
    stem: Annotated[
        str | None, typer.Option(help="Stem of the backbone, where the file does not tell.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="Format to write: safetensors, detectron2 or torchvision.")
    ] = "safetensors",
) -> None:
    """Read another project's checkpoint without running its code, and account for every tensor."""
    from zoo.interop.convert import convert as convert_file

    for line in convert_file(source, to, arch=arch, stem=stem, format=format).lines():
        echo(line)
