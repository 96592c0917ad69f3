"""npid info: what a model is, where it comes from, and what it scored."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npid.options import Model

if TYPE_CHECKING:
    from zoo import Backbone

Row = tuple[str, object]


def info(model: Model) -> None:
    """Show what a model is, where it comes from, and what it scored."""
    import zoo
    from npid.console import out, table
    from zoo.errors import printable

    folder = zoo.locate(model)
    backbone = zoo.load(folder)
    meta = dict(backbone.meta)
    settings = meta.pop("settings", {})
    data = meta.pop("data", {})
    rows = _backbone_rows(backbone, folder)
    if data:
        rows.append(("trained on", _data_text(data)))
    for name, value in meta.items():
        rows.append((name, json.dumps(value) if isinstance(value, dict) else value))
    rows += _file_rows(folder)
    table(model, ("", ""), rows)
    if settings:
        out.print("settings:", printable(json.dumps(settings, default=str)))
    _print_scores(folder)


def _backbone_rows(backbone: "Backbone", folder: Path) -> list[Row]:
    from zoo.models.model_dir import read_config

    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    precision = read_config(folder)["npid"].get("precision", "float32")
    spec = backbone.input
    return [
        ("backbone", f"{backbone.arch}, {backbone.stem} stem, {backbone.embed_dim}-d embedding"),
        ("weights", f"{parameters:,}, stored as {precision}"),
        ("input", f"{spec.size}×{spec.size}, mean {spec.mean}, std {spec.std}"),
        ("layers", ", ".join(backbone.layers)),
        ("timm name", backbone.timm_name or "none: loads in this zoo only"),
    ]


def _data_text(data: Any) -> str:
    """The training data as one line."""
    if isinstance(data, str):
        return data
    has_all = isinstance(data, dict) and {"name", "count", "digest"} <= set(data)
    if has_all and isinstance(data["count"], int) and isinstance(data["digest"], str):
        return f"{data['name']}, {data['count']:,} images, digest {data['digest'][:12]}…"
    return json.dumps(data)


def _file_rows(folder: Path) -> list[Row]:
    import zoo
    from zoo.models.model_dir import WEIGHTS, sha256

    bank = zoo.load_bank(folder)
    return [
        ("memory bank", "none" if bank is None else f"{len(bank):,} rows"),
        ("sha256", sha256(folder / WEIGHTS)),
    ]


def _print_scores(folder: Path) -> None:
    from npid.console import table
    from zoo.results import METRICS_FILE, read_results

    path = folder / METRICS_FILE
    if not path.is_file():
        return
    rows = []
    for result in read_results(path):
        for name, value in result.metrics.items():
            rows.append((result.task, result.data, name, f"{value:.4g}"))
    table("Scores", ("task", "data", "metric", "value"), rows)
