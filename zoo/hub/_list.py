"""What an organisation has published with this library."""

from typing import Any

from huggingface_hub import HfApi

from zoo.cards import TAG, ModelSummary
from zoo.hub._client import call


def list_remote(
    org: str, *, endpoint: str | None = None, token: str | None = None
) -> list[ModelSummary]:
    """Models of an organisation or user that carry this library's tag, by name.

    Raises:
        HubError: if the Hub cannot be asked.
    """
    api = HfApi(endpoint=endpoint, token=token)
    # one try of ours: the client makes several of its own here
    found = call(
        f"models of {org}",
        lambda: list(api.list_models(author=org, filter=TAG, cardData=True)),
        tries=1,
    )
    return sorted((_listed(info) for info in found), key=lambda listed: listed.name)


def _listed(info: Any) -> ModelSummary:
    card = info.card_data.to_dict() if info.card_data else {}
    ours = card.get("npid")
    ours = ours if isinstance(ours, dict) else {}
    return ModelSummary(
        name=info.id,
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
                if metric.get("type") == "accuracy" and str(metric.get("name", "")).startswith(
                    "kNN top1"
                ):
                    return metric.get("value")
    return None
