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
    prefix: Annotated[
        str | None,
        typer.Option(help="What comes before the backbone's names, where the file holds several."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the images it was trained on, pixels.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Mean of the channels, 0 to 1.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Standard deviation of the channels.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="Format to write: safetensors, detectron2 or torchvision.")
    ] = "safetensors",
) -> None:
    """Read another project's checkpoint without running its code, and account for every tensor."""
    from zoo.interop.convert import convert as convert_file

    report = convert_file(
        source,
        to,
        arch=arch,
        stem=stem,
        prefix=prefix,
        size=size,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        format=format,
    )
    for line in report.lines():
        echo(line)


def _numbers(option: str, text: str | None) -> list[float] | None:
    """Read numbers with commas between them."""
    from zoo.errors import SettingsError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(
            f"{option} takes three numbers, comma between them, got {text!r}"
        ) from None
