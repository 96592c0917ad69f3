"""The command ``npid embed``."""

from pathlib import Path
from typing import Annotated

import typer

from npid.options import Device, SkipBad, Workers
from npid.printing import echo


def embed(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="The model: a directory, a bundled name, or org/name on the Hub."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="The images: a folder of images or parquet, or a name such as digits.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the store here; one that is there is appended to."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Embed this split: train, val, test, or another.")
    ] = "train",
    dtype: Annotated[
        str,
        typer.Option(help="Store the rows as float32, or as bfloat16 at half the size."),
    ] = "float32",
    verify: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Check every byte of a store, and embed nothing."),
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Write the features of all images of DATA as a store.

    It goes on where it stopped, and takes in images that are new.
    """
    from npid.options import pick_device
    from zoo import SettingsError

    if verify is not None:
        _verify(verify)
        return
    if model is None or data is None or out is None:
        raise SettingsError("npid embed takes MODEL DATA --out DIR, or --verify DIR")
    _embed(model, data, out, split, dtype, pick_device(device), workers, skip_bad)


def _embed(
    model: str,
    data: str,
    out: Path,
    split: str,
    dtype: str,
    device: str,
    workers: int,
    skip_bad: bool,
) -> None:
    from downstream.retrieval import EmbedConfig
    from downstream.retrieval.embed import embed_source
    from npid.console import progress_bar
    from zoo.data.sources import open_source

    config = EmbedConfig(
        split=split, dtype=dtype, device=device, workers=workers, skip_bad=skip_bad
    )
    source = open_source(data, split, skip_bad=skip_bad)
    with progress_bar("embed", len(source)) as bar:
        store = embed_source(model, source, out, config, bar.add)
    megabytes = sum(store.manifest.sizes.values()) / 1e6
    echo(f"{out}: {len(store):,} rows of {store.dim} {store.manifest.dtype}, {megabytes:.1f} MB")


def _verify(folder: Path) -> None:
    from downstream.retrieval import FeatureStore
    from zoo import DataError

    store = FeatureStore.open(folder)
    faults = store.verify()
    if faults:
        heading = f"{folder}: damaged; embed again into another folder:"
        raise DataError("\n  ".join([heading, *faults]))
    num_blocks = len(store.manifest.blocks)
    echo(f"{folder}: {len(store):,} rows, {num_blocks} blocks, all as they were written")
