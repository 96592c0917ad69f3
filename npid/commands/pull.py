"""npid pull: a model comes from the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from npid.options import Endpoint
from npid.printing import echo


def pull(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Repository, org/name or org/name@revision.")
    ],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; by default main.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to copy the model to, besides the cache."),
    ] = None,
    endpoint: Endpoint = None,
) -> None:
    """Fetch a model from the Hub, checked by sha256; later it loads without a network."""
    from npid.console import print_files
    from zoo import hub

    print_files(hub.pull(model, revision=revision, to=to, endpoint=endpoint))
    echo(f'zoo.load("{to or model}") loads it.')
