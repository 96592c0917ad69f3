"""Options that several commands take."""

import os
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A folder of images or parquet, or a name like digits."),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model directory, a bundled name, or org/name or org/name@revision."
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Address of the Hub; by default HF_ENDPOINT or the public one."
    ),
]
Device = Annotated[
    str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps, or auto for the fastest.")
]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images; 0 for this one.")]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Add the results to this metrics.json."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")]


def pick_device(device: str) -> str:
    """Resolve ``auto``, and check that torch has the device.

    A process that torchrun started gets a GPU of its own.

    Raises:
        SettingsError: if torch has no such device here.
    """
    import torch

    from zoo.errors import SettingsError

    if device == "auto":
        device = "cpu"
        if torch.cuda.is_available():
            device = "cuda"
        elif torch.backends.mps.is_available():
            device = "mps"
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            f"--device {device}: not available here ({reason}); try --device cpu"
        ) from error
    return device
