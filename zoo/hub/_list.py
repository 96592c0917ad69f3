"""What an organisation has published with this library."""

from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi

from zoo.cards import TAG
from zoo.hub._client import call


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A published model, by the metadata of its card; None for what the card does not say.

    Attributes:
        repo: ``org/name``.
        arch, dim, parameters: the backbone, its embedding's dimensions, its number of weights.
        data: the data set it was trained on.
        knn: top-1 accuracy of the kNN classifier, 0–1.
    """

    repo: str
    arch: str | None = None
    dim: int | None = None
    parameters: int | None = None
    data: str | None = None
    knn: float | None = None


def list_remote(org: str, *, endpoint: str | None = None, token: str | None = None) -> list[Listed]:
    """Models of an organisation or user that carry this library's tag, by name.

    Raises:
        HubError: if the Hub cannot be asked.
    """
    api = HfApi(endpoint=endpoint, token=token)
    found = call(f"models of {org}", lambda: list(api.list_models(author=org, filter=TAG, cardData=True)))
    return sorted((_listed(info) for info in found), key=lambda listed: listed.repo)


def _listed(info: Any) -> Listed:
    card = info.card_data.to_dict() if info.card_data else {}
    ours = card.get("npid")
    ours = ours if isinstance(ours, dict) else {}
    return Listed(
        repo=info.id,
        arch=ours.get("arch"),
        dim=ours.get("dim"),
        parameters=ours.get("parameters"),
        data=ours.get("data"),
        knn=_knn(card.get("model-index") or []),
    )


def _knn(index: list[dict[str, Any]]) -> float | None:
    """The first kNN top-1 of a model-index, as the card writes it."""
    for model in index:
        for result in model.get("results", []):
            for metric in result.get("metrics", []):
                if metric.get("type") == "accuracy" and str(metric.get("name", "")).startswith("kNN top1"):
                    return metric.get("value")
    return None
