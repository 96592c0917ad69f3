"""Options that several commands take."""

import os
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="Folder of images or parquet, or a name such as digits."),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model directory, a bundled name, or org/name[@revision]."
    ),
]
Endpoint = Annotated[
    str | None, typer.Option(metavar="URL", help="Of the Hub; HF_ENDPOINT or huggingface.co.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, or auto: the fastest there is.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images; 0 for this one.")]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Add the results to this metrics.json."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")]


def pick_device(device: str) -> str:
    """``auto`` as a real device; the others checked. A process that torchrun started gets a GPU of its own.

    Raises:
        SettingsError: if torch has no such device here.
    """
    import torch

    from zoo import SettingsError

    if device == "auto":
        device = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
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
