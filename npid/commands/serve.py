from pathlib import Path
from typing import Annotated

import typer

from npid.options import Device


def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A feature store, from `npid embed`.")
    ],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Its model, where it has moved.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="KIND", help="Of `npid index`; exact search without.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    top: Annotated[int, typer.Option(min=1, help="Neighbours to show.")] = 20,
    max_upload: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Of an uploaded image.")
    ] = 20,
    device: Device = "auto",
) -> None:
    """Show a local page that finds the nearest stored images of one that is dropped on it."""
    import socket

    from npid.options import pick_device
    from zoo import SettingsError

    try:
        import python_multipart  # noqa: F401  Starlette needs it when a form comes
        import uvicorn

        from downstream.serve import Engine, create_app
    except ImportError as error:
        raise SettingsError(
            f"npid serve needs {error.name}: pip install 'npid-zoo[serve]'"
        ) from error
    engine = Engine(folder, model=model, index=index, device=pick_device(device), top=top)
    app = create_app(engine, hosts=[host], limit=max_upload * 1_000_000)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"--host {host} --port {port}: cannot listen there ({error}); choose others"
        ) from error
    place = f"[{host}]" if ":" in host else host
    typer.echo(
        f"{len(engine):,} images of {folder} at http://{place}:{listening.getsockname()[1]}/ (Ctrl-C ends it)"
    )
    uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False)).run([listening])
