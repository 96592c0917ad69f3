"""npid push: a model directory goes to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from npid.options import Endpoint
from npid.printing import echo


def push(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The model directory to publish.")
    ],
    repo: Annotated[
        str, typer.Argument(metavar="REPO", help="Repository, org/name; it is made if need be.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be sent, and the card.")
    ] = False,
    tag: Annotated[
        str | None, typer.Option(help="Tag that names the commit, for org/name@tag.")
    ] = None,
    endpoint: Endpoint = None,
) -> None:
    """Publish a model directory on the Hub, in one commit."""
    from npid.console import out
    from zoo import hub

    result = hub.push(directory, repo, private=private, dry_run=dry_run, tag=tag, endpoint=endpoint)
    for line in result.lines():
        echo(line)
    if dry_run:
        out.rule("README.md")
        echo(result.card)
