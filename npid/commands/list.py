import typer


def list_models() -> None:
    """The backbones there are."""
    import torch

    import zoo
    from npid.console import table

    rows: list[tuple[object, ...]] = []
    for name in zoo.list_models():
        with torch.device("meta"):
            model = zoo.create(name)
        count = sum(p.numel() for p in model.parameters())
        rows.append((name, ", ".join(model.stems), model.dim, round(count / 1e6, 2), ", ".join(model.layers)))
    table("Backbones", ("name", "stems", "dim", "million weights", "layers"), rows)
    typer.echo("zoo.create(name) makes one; `npid pretrain DATA --out RUN --backbone name` trains one.")
