from pathlib import Path
from typing import Annotated

import typer

from npid.options import Device, SkipBad, Workers


def embed(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A model directory, or org/name.")
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Folder of images or parquet, or a name.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The store; made, or appended to.")
    ] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    dtype: Annotated[
        str, typer.Option(help="Of the stored rows: float32, or bfloat16 at half the size.")
    ] = "float32",
    verify: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check every byte of a store instead.")
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Write the features of all images of DATA as a store; goes on where it stopped, and takes in new images."""
    from downstream import retrieval
    from npid.console import progress_bar
    from npid.options import pick_device
    from zoo import DataError, SettingsError
    from zoo.data.sources import open_source

    if verify is not None:
        store = retrieval.Store.open(verify)
        if faults := store.faults():
            raise DataError(
                "\n  ".join([f"{verify}: damaged; embed again into another folder:", *faults])
            )
        typer.echo(
            f"{verify}: {len(store):,} rows, {len(store.manifest.blocks)} blocks, all as they were written"
        )
        return
    if model is None or data is None or out is None:
        raise SettingsError("npid embed takes MODEL DATA --out DIR, or --verify DIR")
    settings = retrieval.EmbedSettings(
        split=split, dtype=dtype, device=pick_device(device), workers=workers, skip_bad=skip_bad
    )
    with progress_bar("embed", len(open_source(data, split))) as bar:
        store = retrieval.embed(model, data, out, settings, progress=bar.add)
    size = sum(store.manifest.sizes.values())
    typer.echo(
        f"{out}: {len(store):,} rows of {store.dim} {store.manifest.dtype}, {size / 1e6:.1f} MB"
    )
