"""npid list: the models and backbones there are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from npid.options import Endpoint
from npid.printing import echo

if TYPE_CHECKING:
    from zoo.cards import ModelSummary


def list_models(
    remote: Annotated[
        str | None,
        typer.Option(metavar="ORG", help="List what this organisation has published instead."),
    ] = None,
    endpoint: Endpoint = None,
) -> None:
    """List the models, backbones and losses there are, or what an organisation has published."""
    if remote is not None:
        _print_published(remote, endpoint)
        return
    _print_bundled()
    _print_backbones()
    _print_losses()


def _print_published(org: str, endpoint: str | None) -> None:
    from zoo import hub

    models = hub.list_remote(org, endpoint=endpoint)
    _print_models(f"Published by {org}", models)
    if models:
        echo("`npid pull MODEL` fetches one.")
    else:
        echo(f"{org} has published nothing with npid-zoo.")


def _print_bundled() -> None:
    from zoo import cards
    from zoo.models import bundled

    names = bundled.names()
    if not names:
        return
    models = [cards.summarize(bundled.FOLDER / name) for name in names]
    _print_models("Pretrained models, here already", models)
    echo(f'zoo.load("{names[0]}") loads one; `npid info {names[0]}` tells more.\n')


def _print_models(title: str, models: Sequence["ModelSummary"]) -> None:
    from npid.console import table

    rows = []
    for model in models:
        embed_dim = "" if model.embed_dim is None else model.embed_dim
        parameters = "" if model.parameters is None else f"{model.parameters:,}"
        score = "" if model.knn is None else f"{100 * model.knn:.2f}"
        rows.append((model.name, model.data or "", model.arch or "", embed_dim, parameters, score))
    table(title, ("model", "data", "backbone", "dim", "weights", "kNN top-1, %"), rows)


def _print_backbones() -> None:
    import torch

    import zoo
    from npid.console import table

    rows = []
    for name in zoo.list_backbones():
        with torch.device("meta"):
            model = zoo.create(name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        stems = ", ".join(model.stems)
        layers = ", ".join(model.layers)
        rows.append((name, stems, model.embed_dim, round(parameters / 1e6, 2), layers))
    table("Backbones", ("name", "stems", "dim", "million weights", "layers"), rows)
    echo("zoo.create(name) makes one; `npid pretrain DATA --out RUN --backbone name` trains one.")


def _print_losses() -> None:
    from npid.console import table
    from pretrain.losses import LOSSES, setting_names

    rows = []
    for name in LOSSES:
        summary = (LOSSES[name].__doc__ or "").partition("\n")[0]
        rows.append((name, summary, ", ".join(setting_names(LOSSES[name].Config())[1:])))
    table("Losses", ("name", "what it minimises", "settings"), rows)
    echo("`npid pretrain DATA --out RUN --loss NAME --set loss.SETTING=VALUE` trains with one.")
