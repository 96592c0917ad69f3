from pathlib import Path
from typing import Annotated

import typer

from npid.options import Endpoint


def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A model directory.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="org/name; made if need be.")],
    private: Annotated[
        bool, typer.Option("--private", help="A new repository is private.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and the card.")
    ] = False,
    tag: Annotated[str | None, typer.Option(help="Name the commit, for org/name@tag.")] = None,
    endpoint: Endpoint = None,
) -> None:
    """Publish a model directory on the Hub, in one commit."""
    from npid.console import out
    from zoo import hub

    done = hub.push(directory, repo, private=private, dry_run=dry_run, tag=tag, endpoint=endpoint)
    for line in done.lines():
        typer.echo(line)
    if dry_run:
        out.rule("README.md")
        typer.echo(done.card)
