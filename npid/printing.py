"""Lines for a terminal, of which files and servers may have written a part."""

import typer

from zoo.errors import printable


def echo(text: str) -> None:
    """Print a text, with control characters and escape codes shown and not obeyed."""
    typer.echo(printable(text))
