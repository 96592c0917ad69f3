"""A model in one line of a listing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.cards.card import count_parameters, data_name, read_metrics
from zoo.models.model_dir import describe
from zoo.results import Results


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A model in a listing; None stands for what its card or files do not say.

    Attributes:
        name: Name of a bundled model, or ``org/name``.
        arch: Name of the backbone.
        embed_dim: Dimensions of its embedding.
        parameters: Number of its weights.
        data: The data set it was trained on.
        knn: Top-1 accuracy of the kNN classifier, 0–1.
    """

    name: str
    arch: str | None = None
    embed_dim: int | None = None
    parameters: int | None = None
    data: str | None = None
    knn: float | None = None


def summarize(directory: str | Path) -> ModelSummary:
    """Summarize a model directory by its config.json and metrics.json.

    Raises:
        ModelError: If one of them is malformed.

    Example:
        >>> from zoo.models import bundled
        >>> summarize(bundled.FOLDER / "npid-cifar10-small").arch
        'resnet10'
    """
    model = describe(directory)
    return ModelSummary(
        name=Path(directory).name,
        arch=model.arch,
        embed_dim=model.embed_dim,
        parameters=count_parameters(model),
        data=data_name(model.meta),
        knn=_knn_accuracy(read_metrics(directory)),
    )


def _knn_accuracy(results: Sequence[Results]) -> float | None:
    """Find the first kNN score."""
    for result in results:
        if result.task == "knn" and "top1" in result.metrics:
            return result.metrics["top1"]
    return None
