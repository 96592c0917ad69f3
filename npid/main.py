"""The typer app: commands import what they need when they run, so that help comes at once."""

import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from downstream.tasks import TASKS
from npid.commands import (
    convert,
    demo,
    doctor,
    embed,
    export,
    index,
    info,
    pretrain,
    pull,
    push,
    report,
    search,
    serve,
)
from npid.commands import list as list_
from npid.task_command import task_command
from zoo.errors import NpidError, PeerError, printable
from zoo.utils.signals import Stopped


def _print_any_name() -> None:
    """Let file names that are no UTF-8, or not of the terminal's letters, be printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Group(TyperGroup):
    """Turns the errors that a user can act on into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        from npid.malloc import keep_freed

        keep_freed()
        _print_any_name()
        try:
            return super().invoke(ctx)
        except PeerError as error:  # another process says why
            raise typer.Exit(1) from error
        except NpidError as error:
            typer.secho(f"npid: {printable(str(error))}", err=True, fg="red")
            raise typer.Exit(1) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno is None:
                raise
            where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
            message = f"npid: {where}{error.strerror}; free space, or choose another path"
            typer.secho(printable(message), err=True, fg="red")
            raise typer.Exit(1) from error
        except Stopped as error:
            if os.environ.get("RANK", "0") == "0":
                typer.secho(f"npid: {error}", err=True)
            raise typer.Exit(128 + error.signal) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Instance-discrimination backbones: pretrain without labels, publish, transfer.",
    epilog="MODEL is a model directory, a name that `npid list` shows, or a Hub repository, "
    "org/name or org/name@revision. DATA is a folder of images, an ImageFolder (train/, val/ or "
    "test/), a "
    "folder of Hub-style parquet or WebDataset shards, Places with its lists, or a name: digits, "
    "cifar10, cifar100, stl10, stl10-unlabeled.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from zoo import __version__

        typer.echo(f"npid-zoo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Show the version and exit.",
    ),
) -> None:
    """Options before the command's name."""


app.command("demo")(demo.demo)
app.command("pretrain")(pretrain.pretrain)
app.command("export")(export.export)
app.command("convert")(convert.convert)
app.command("push")(push.push)
app.command("pull")(pull.pull)
for _name in TASKS:
    app.command(_name, help=TASKS[_name].help)(task_command(TASKS[_name]))
app.command("embed")(embed.embed)
app.command("index")(index.index)
app.command("search")(search.search)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("list")(list_.list_models)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
