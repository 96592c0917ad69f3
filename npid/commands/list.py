from typing import Annotated, Any

import typer

from npid.options import Endpoint


def list_models(
    remote: Annotated[
        str | None, typer.Option(metavar="ORG", help="What an organisation has published.")
    ] = None,
    endpoint: Endpoint = None,
) -> None:
    """The pretrained models and backbones there are, or the models that an organisation has published."""
    if remote is not None:
        _published(remote, endpoint)
        return
    import torch

    import zoo
    from npid.console import table

    if names := zoo.list_models():
        from zoo import cards
        from zoo.models import bundled

        _models(
            "Pretrained models, here already",
            [cards.summarize(bundled.FOLDER / name) for name in names],
        )
        typer.echo(f'zoo.load("{names[0]}") loads one; `npid info {names[0]}` tells more.\n')
    rows: list[tuple[object, ...]] = []
    for name in zoo.list_backbones():
        with torch.device("meta"):
            model = zoo.create(name)
        count = sum(p.numel() for p in model.parameters())
        rows.append(
            (
                name,
                ", ".join(model.stems),
                model.embed_dim,
                round(count / 1e6, 2),
                ", ".join(model.layers),
            )
        )
    table("Backbones", ("name", "stems", "dim", "million weights", "layers"), rows)
    typer.echo(
        "zoo.create(name) makes one; `npid pretrain DATA --out RUN --backbone name` trains one."
    )


def _models(title: str, found: list[Any]) -> None:
    from npid.console import table

    rows = []
    for m in found:
        score = "" if m.knn is None else f"{100 * m.knn:.2f}"
        count = "" if m.parameters is None else f"{m.parameters:,}"
        rows.append(
            (m.name, m.data or "", m.arch or "", "" if m.dim is None else m.dim, count, score)
        )
    table(title, ("model", "data", "backbone", "dim", "weights", "kNN top-1, %"), rows)


def _published(org: str, endpoint: str | None) -> None:
    from zoo import hub

    found = hub.list_remote(org, endpoint=endpoint)
    _models(f"Published by {org}", found)
    typer.echo(
        "`npid pull MODEL` fetches one." if found else f"{org} has published nothing with npid-zoo."
    )
