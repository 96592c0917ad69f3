"""Model cards: README.md generated from config.json and metrics.json. No result is stated without a metrics entry."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from zoo.errors import ModelError
from zoo.models import Backbone, bundled
from zoo.models.model_dir import BANK, describe, read_config
from zoo.utils.files import write_text

TAG = "npid-zoo"  # by which published models are found
METRICS = "metrics.json"
_TASKS = {  # our task: (the Hub's task type, what to call it)
    "knn": ("image-classification", "kNN"),
    "linear": ("image-classification", "linear probe"),
    "finetune": ("image-classification", "fine-tuning"),
    "detect": ("object-detection", "detection"),
}
_REST = ("feature-extraction", None)


def read_metrics(directory: str | Path) -> list[dict[str, Any]]:
    """The results beside a model, newest last; an empty list if there are none.

    Raises:
        ModelError: if metrics.json is not a list of results with ``task``, ``data`` and a ``metrics`` of numbers.
    """
    path = Path(directory) / METRICS
    if not path.is_file():
        return []
    try:
        results = json.loads(path.read_text())
        for result in results:
            if not (isinstance(result["task"], str) and isinstance(result["data"], str)):
                raise TypeError("task and data must be strings")
            if not all(isinstance(value, int | float) for _, value in _flat(result["metrics"])):
                raise TypeError("metrics must be numbers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"a result lacks the key {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{path}: not a list of results: {what}; run the task again with --json"
        ) from error
    return results


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A model in a listing; None for what its card or files do not say.

    Attributes:
        name: of a bundled model, or ``org/name``.
        arch, dim, parameters: the backbone, its embedding's dimensions, its number of weights.
        data: the data set it was trained on.
        knn: top-1 accuracy of the kNN classifier, 0–1.
    """

    name: str
    arch: str | None = None
    dim: int | None = None
    parameters: int | None = None
    data: str | None = None
    knn: float | None = None


def summary(directory: str | Path) -> Summary:
    """A model directory in a listing: by config.json and the first kNN score in metrics.json.

    Raises:
        ModelError: if one of them is malformed.
    """
    model, results = describe(directory), read_metrics(directory)
    return Summary(
        name=Path(directory).name,
        arch=model.arch,
        dim=model.embed_dim,
        parameters=_count(model),
        data=_data(model.meta),
        knn=next(
            (
                r["metrics"]["top1"]
                for r in results
                if r["task"] == "knn" and "top1" in r["metrics"]
            ),
            None,
        ),
    )


def _count(model: Backbone) -> int:
    return sum(p.numel() for p in model.parameters())


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested settings as dotted names."""
    if isinstance(value, dict):
        return [
            pair
            for key, item in value.items()
            for pair in _flat(item, f"{name}.{key}" if name else str(key))
        ]
    return [(name, value)]


def _task(result: dict[str, Any]) -> tuple[str, str]:
    kind, title = _TASKS.get(result["task"], _REST)
    return kind, title or result["task"]


def _metadata(
    config: dict[str, Any], results: list[dict[str, Any]], name: str, parameters: int
) -> str:
    """The card's YAML header. ``npid`` is ours: what a listing of published models shows."""
    ours = config["npid"]
    found = []
    for result in results:
        kind, title = _task(result)
        for metric, value in _flat(result["metrics"]):
            found.append(
                EvalResult(
                    task_type=kind,
                    dataset_type=_short(result["data"]),
                    dataset_name=_short(result["data"]),
                    metric_type="accuracy"
                    if kind == "image-classification" and "top" in metric
                    else metric,
                    metric_name=f"{title} {metric}",
                    metric_value=value,
                )
            )
    data = ModelCardData(
        library_name=TAG,
        license=ours.get("license"),
        pipeline_tag="image-feature-extraction",
        tags=[TAG, "instance-discrimination", "self-supervised", config["arch"]],
        model_name=name if found else None,
        eval_results=found or None,
        npid={
            "arch": config["arch"],
            "dim": config["dim"],
            "parameters": parameters,
            "data": _data(ours),
        },
    )
    return data.to_yaml().strip()


def _data(ours: dict[str, Any]) -> str | None:
    data = ours.get("data")
    return (
        str(data.get("name") or data.get("source") or "") or None
        if isinstance(data, dict)
        else data
    )


def _short(data: str) -> str:
    """A data set without the folders that it lies in: those of one machine say nothing to a reader."""
    return data if data.startswith("hub:") else Path(data).name or data


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("zoo.cards"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["cell"], environment.filters["short"] = _cell, _short
    environment.filters["settings"] = lambda value: ", ".join(
        f"{name} {item}" for name, item in _flat(value)
    )
    return environment.get_template("card.md.j2")


def _cell(value: Any) -> str:
    """A value within a Markdown table: one line, no stray column."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def render(directory: str | Path, *, repo: str | None = None) -> str:
    """The card of a model directory, the same for the same files.

    Args:
        directory: must hold config.json; metrics.json is optional, and the weights are not looked at.
        repo: ``org/name`` in the examples and as the title; the folder's name by default.

    Raises:
        ModelError: if config.json or metrics.json is malformed.
    """
    directory = Path(directory)
    config, results, model = read_config(directory), read_metrics(directory), describe(directory)
    ours = config["npid"]
    known = {"stem", "input", "precision", "license", "data", "settings", "versions", "converted"}
    parameters = _count(model)
    return _template().render(
        metadata=_metadata(config, results, repo or directory.name, parameters),
        name=repo or directory.name,
        place=repo or f"path/to/{directory.name}",
        model=repo
        or (
            directory.name
            if bundled.find(directory.name) == directory
            else f"path/to/{directory.name}"
        ),
        config=config,
        ours={"converted": None, "license": None, "precision": None, **ours},
        parameters=parameters,
        training=_flat(
            {key: ours[key] for key in ours if key not in known}
            | {"settings": ours.get("settings", {})}
        ),
        data=_flat(ours["data"], "data") if ours.get("data") else [],
        versions=_flat(ours.get("versions", {})),
        results=[
            (_task(r)[1], {"command": None, "settings": {}, **r}, _flat(r["metrics"]))
            for r in results
        ],
        layers=model.layers,
        bank=(directory / BANK).is_file(),
        in_timm=model.architecture is not None,
        in_detectron2=model.stem == "imagenet" and hasattr(model, "layer4"),
    )


def _released(folder: Path) -> dict[str, str]:
    """{file name: card} of every released model: those that ship with the library, and those whose config.json and
    metrics.json lie in ``folder/NAME`` because their weights are elsewhere."""
    sources = [bundled.FOLDER / name for name in bundled.names()] + [
        p.parent for p in folder.glob("*/config.json")
    ]
    return {f"{source.name}.md": render(source) for source in sources}


def outdated(folder: str | Path) -> list[str]:
    """Cards of a folder that are missing, differ from what their models' files give, or belong to no model."""
    cards = _released(Path(folder))
    here = {path.name: path.read_text() for path in Path(folder).glob("*.md")}
    return sorted(name for name in cards.keys() | here.keys() if cards.get(name) != here.get(name))


def write_all(folder: str | Path) -> list[Path]:
    """Write the card of every released model, ``folder/NAME.md``; see :func:`outdated`."""
    cards = _released(Path(folder))
    for name, card in cards.items():
        write_text(Path(folder) / name, card)
    return [Path(folder) / name for name in cards]
