"""The command ``npid serve``."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from npid.options import Device
from npid.printing import echo

_CONNECTIONS = 100  # more at once get 503


def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The store, written by `npid embed`.")
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Take the store's model from here, where it has moved."),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Search by this index of `npid index`; without it exactly."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Listen on this address; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Listen on this port; 0 takes any that is free.")
    ] = 8000,
    top: Annotated[int, typer.Option(min=1, help="Show so many neighbours.")] = 20,
    max_upload: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Refuse uploaded images that are larger.")
    ] = 20,
    device: Device = "auto",
) -> None:
    """Show a local page that finds the nearest stored images of one that is dropped on it."""
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
    listening = _listen(host, port)
    url_host = f"[{host}]" if ":" in host else host
    url = f"http://{url_host}:{listening.getsockname()[1]}/"
    echo(f"{len(engine):,} images of {folder} at {url} (Ctrl-C ends it)")
    config = uvicorn.Config(
        app, log_level="warning", server_header=False, limit_concurrency=_CONNECTIONS
    )
    uvicorn.Server(config).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    from zoo import SettingsError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"--host {host} --port {port}: cannot listen there ({error}); choose others"
        ) from error
