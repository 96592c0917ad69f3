"""Model cards: README.md generated from config.json and metrics.json.

No result is stated without an entry in metrics.json.
"""

from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from zoo.errors import ModelError
from zoo.models import Backbone, bundled
from zoo.models.model_dir import BANK, describe, read_config
from zoo.results import METRICS_FILE, Results, read_results
from zoo.utils.nested import flatten_dict

TAG = "npid-zoo"
"""The tag on the Hub by which published models are found."""

# What files of older versions, which keep neither a title nor a type, are called by: task → (the
# Hub's type of task, title). Results of today say both themselves.
_OLDER_TASKS = {
    "knn": ("image-classification", "kNN"),
    "linear": ("image-classification", "linear probe"),
    "finetune": ("image-classification", "fine-tuning"),
    "detect": ("object-detection", "detection"),
}
# Keys of config.json's section "npid" that have a place of their own in the card.
_SHOWN_APART = frozenset(
    {"stem", "input", "precision", "license", "data", "settings", "versions", "converted"}
)


def read_metrics(directory: str | Path) -> list[Results]:
    """Read the results beside a model.

    Returns:
        The results, newest last; an empty list if there is no metrics.json.

    Raises:
        ModelError: If metrics.json is not a list of results.
    """
    path = Path(directory) / METRICS_FILE
    return read_results(path, error=ModelError) if path.is_file() else []


def render(directory: str | Path, *, repo: str | None = None) -> str:
    """Write the card of a model directory, the same for the same files.

    Args:
        directory: Must hold config.json; metrics.json is optional, and no weights are read.
        repo: ``org/name`` in the examples and as the title; the folder's name by default.

    Raises:
        ModelError: If config.json or metrics.json is malformed.
    """
    directory = Path(directory)
    config = read_config(directory)
    model = describe(directory)
    results = read_metrics(directory)
    name = repo or directory.name
    meta = config["npid"]
    return _template().render(
        metadata=_metadata(config, results, name, count_parameters(model)),
        name=name,
        repo_or_path=repo or f"path/to/{directory.name}",
        model=repo or _name_to_load(directory),
        config=config,
        meta={"converted": None, "license": None, "precision": None, **meta},
        input=model.input,
        parameters=count_parameters(model),
        training=_training(meta),
        data=flatten_dict({"data": meta["data"]}) if meta.get("data") else {},
        versions=flatten_dict(_dictionary(meta.get("versions"))),
        results=results,
        layers=model.layers,
        bank=(directory / BANK).is_file(),
        in_timm=model.timm_name is not None,
        in_transformers=model.transformers_compatible,
        in_detectron2=model.detectron2_compatible,
    )


def count_parameters(model: Backbone) -> int:
    """Count the weights of a backbone."""
    return sum(parameter.numel() for parameter in model.parameters())


def data_name(meta: dict[str, Any]) -> str | None:
    """Name the data set that a model was trained on.

    Args:
        meta: The section ``npid`` of config.json.

    Returns:
        The name, or None where the section does not say.
    """
    data = meta.get("data")
    if not isinstance(data, dict):
        return data
    name = data.get("name") or data.get("source")
    return str(name) if name else None


def _name_to_load(directory: Path) -> str:
    """What ``zoo.load`` takes: the name of a bundled model, or a path for the reader to adapt."""
    is_bundled = bundled.find(directory.name) == directory
    return directory.name if is_bundled else f"path/to/{directory.name}"


def _training(meta: dict[str, Any]) -> dict[str, Any]:
    """How the model was trained: what has no place of its own, and every setting."""
    shown = {}
    for key, value in meta.items():
        if key not in _SHOWN_APART:
            shown[key] = value
    shown["settings"] = meta.get("settings", {})
    return flatten_dict(shown)


def _task_type(result: Results) -> str:
    """The Hub's name for the kind of task."""
    older_type, _ = _OLDER_TASKS.get(result.task, ("feature-extraction", ""))
    return result.hub_task_type or older_type


def _task_title(result: Results) -> str:
    """What the card calls the task."""
    _, older_title = _OLDER_TASKS.get(result.task, ("", result.task))
    return result.title or older_title


def _metadata(config: dict[str, Any], results: list[Results], name: str, parameters: int) -> str:
    """The card's YAML header; ``npid`` is what a listing of published models shows."""
    evaluations = []
    for result in results:
        evaluations += _evaluations(result)
    meta = config["npid"]
    card = ModelCardData(
        library_name=TAG,
        license=meta.get("license"),
        pipeline_tag="image-feature-extraction",
        tags=[TAG, "instance-discrimination", "self-supervised", config["arch"]],
        model_name=name if evaluations else None,
        eval_results=evaluations or None,
        npid={
            "arch": config["arch"],
            "dim": config["embed_dim"],
            "parameters": parameters,
            "data": data_name(meta),
        },
    )
    return card.to_yaml().strip()


def _evaluations(result: Results) -> list[EvalResult]:
    """The Hub's entries for one result: one per metric."""
    task_type = _task_type(result)
    data = _without_folders(result.data)
    evaluations = []
    for metric, value in result.metrics.items():
        is_accuracy = task_type == "image-classification" and "top" in metric
        evaluations.append(
            EvalResult(
                task_type=task_type,
                dataset_type=data,
                dataset_name=data,
                metric_type="accuracy" if is_accuracy else metric,
                metric_name=f"{_task_title(result)} {metric}",
                metric_value=value,
            )
        )
    return evaluations


def _without_folders(data: str) -> str:
    """A data set's name alone: the folders of one machine say nothing to a reader."""
    return data if data.startswith("hub:") else Path(data).name or data


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("zoo.cards"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["cell"] = _cell
    environment.filters["task_title"] = _task_title
    environment.filters["without_folders"] = _without_folders
    environment.filters["settings"] = _settings_text
    return environment.get_template("card.md.j2")


def _cell(value: Any) -> str:
    """A value within a Markdown table: one line, no stray column."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in flatten_dict(settings).items())


def _dictionary(value: object) -> dict[str, Any]:
    """The value if it is a dictionary; an empty one for what a config of others may hold."""
    return value if isinstance(value, dict) else {}
