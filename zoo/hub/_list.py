"""What an organisation has published with this library."""

from operator import attrgetter
from typing import Any

from huggingface_hub import HfApi, ModelInfo

from zoo.cards import TAG, ModelSummary
from zoo.hub._client import call


def list_remote(
    org: str, *, endpoint: str | None = None, token: str | None = None
) -> list[ModelSummary]:
    """List the models of an organisation or user that carry this library's tag, by name.

    Args:
        org: The organisation or user.
        endpoint: URL of the Hub; HF_ENDPOINT or huggingface.co by default.
        token: By default the saved one, or HF_TOKEN.

    Raises:
        HubError: If the Hub cannot be asked.
    """
    api = HfApi(endpoint=endpoint, token=token)

    def all_pages() -> list[ModelInfo]:
        return list(api.list_models(author=org, filter=TAG, cardData=True))

    # one try of ours: the client makes several of its own here
    models = call(f"models of {org}", all_pages, tries=1)
    return sorted(map(_summarize, models), key=attrgetter("name"))


def _summarize(info: ModelInfo) -> ModelSummary:
    """Summarize a model by what its card says."""
    card_data: Any = info.card_data
    card = card_data.to_dict() if card_data else {}
    summary = card.get("npid")
    if not isinstance(summary, dict):
        summary = {}
    return ModelSummary(
        name=info.id,
        arch=summary.get("arch"),
        embed_dim=summary.get("dim"),
        parameters=summary.get("parameters"),
        data=summary.get("data"),
        knn=_knn_accuracy(card.get("model-index") or []),
    )


def _knn_accuracy(model_index: list[dict[str, Any]]) -> float | None:
    """Find the first kNN top-1 of a model-index, as the card writes it."""
    for model in model_index:
        for result in model.get("results", []):
            for metric in result.get("metrics", []):
                name = str(metric.get("name", ""))
                if metric.get("type") == "accuracy" and name.startswith("kNN top1"):
                    value: float | None = metric.get("value")
                    return value
    return None
