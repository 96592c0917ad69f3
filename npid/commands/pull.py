from pathlib import Path
from typing import Annotated

import typer

from npid.options import Endpoint


def pull(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="org/name or org/name@revision.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy it here, besides the cache.")
    ] = None,
    endpoint: Endpoint = None,
) -> None:
    """Fetch a model from the Hub, checked by sha256; later it loads without a network."""
    from zoo import hub
    from zoo.utils.files import format_bytes

    place = hub.pull(model, revision=revision, to=to, endpoint=endpoint)
    for file in sorted(path for path in place.iterdir() if path.is_file()):
        typer.echo(f"{file}  {format_bytes(file.stat().st_size)}")
    typer.echo(f'zoo.load("{to or model}") loads it.')
