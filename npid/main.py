"""The typer app. Commands import what they need when they run, so that ``npid --help`` answers at once."""

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from npid.commands import (
    convert,
    demo,
    detect,
    doctor,
    embed,
    export,
    finetune,
    index,
    info,
    knn,
    linear,
    pretrain,
    pull,
    push,
    report,
    search,
    serve,
)
from npid.commands import list as list_


class _Group(TyperGroup):
    """Turns the errors that a user can act on into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        from npid.malloc import keep_freed

        keep_freed()
        try:
            return super().invoke(ctx)
        except Exception as error:
            errors, stopping = sys.modules.get("zoo.errors"), sys.modules.get("zoo.utils.signals")
            together = sys.modules.get("pretrain.communicator")
            if together is not None and isinstance(error, together.PeerError):
                raise typer.Exit(1) from error  # another process says why
            if errors is not None and isinstance(error, errors.NpidError):
                typer.secho(f"npid: {error}", err=True, fg="red")
                raise typer.Exit(1) from error
            if stopping is not None and isinstance(error, stopping.Stopped):
                if os.environ.get("RANK", "0") == "0":
                    typer.secho(f"npid: {error}", err=True)
                raise typer.Exit(128 + error.signal) from error
            raise


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Instance-discrimination backbones: pretrain without labels, publish, transfer.",
    epilog="MODEL is a model directory, a name that `npid list` shows, or a Hub repository, org/name[@revision]. DATA "
    "is a folder of images, an ImageFolder (train/, val/ or test/), a folder of Hub-style parquet or WebDataset "
    "shards, Places with its lists, or a name: digits, cifar10, cifar100, stl10, stl10-unlabeled.",
)
app.command("demo")(demo.demo)
app.command("pretrain")(pretrain.pretrain)
app.command("export")(export.export)
app.command("knn")(knn.knn)
app.command("convert")(convert.convert)
app.command("push")(push.push)
app.command("pull")(pull.pull)
app.command("linear")(linear.linear)
app.command("finetune")(finetune.finetune)
app.command("detect")(detect.detect)
app.command("embed")(embed.embed)
app.command("index")(index.index)
app.command("search")(search.search)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("list")(list_.list_models)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
