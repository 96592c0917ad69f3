"""What an organisation has published with this library."""

from operator import attrgetter
from typing import Any

from huggingface_hub import HfApi

from zoo.cards import TAG, ModelSummary
from zoo.errors import HubError
from zoo.hub._client import call
from zoo.hub._http import get_json, origin

MAX_MODELS = 10_000
"""How many models, and how many pages a hundredth of that, a list may have."""


def list_remote(
    org: str, *, endpoint: str | None = None, token: str | None = None
) -> list[ModelSummary]:
    """List the models of an organisation or user that carry this library's tag, by name.

    Args:
        org: The organisation or user.
        endpoint: URL of the Hub; HF_ENDPOINT or huggingface.co by default.
        token: By default the saved one, or HF_TOKEN.

    Raises:
        HubError: If the Hub cannot be asked, or its list has no end.
    """
    api = HfApi(endpoint=endpoint, token=token)
    subject = f"models of {org}"
    summaries: list[ModelSummary] = []
    params: dict[str, str | list[str]] | None = {
        "author": org,
        "filter": [TAG],
        "cardData": "true",
    }
    url: str | None = f"{api.endpoint}/api/models"
    for _ in range(MAX_MODELS // 100):
        page, next_url = call(subject, get_json, api, subject, url, params)
        if not isinstance(page, list):
            raise HubError(f"{subject}: the answer is no list, as a Hub sends; check HF_ENDPOINT")
        for entry in page:
            if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                summaries.append(_summarize(entry))
        if next_url is None:
            return sorted(summaries, key=attrgetter("name"))
        if origin(next_url) != origin(api.endpoint):
            raise HubError(
                f"{subject}: refused, for the next page is said to be at {next_url!r}, which is "
                f"not the Hub ({api.endpoint})"
            )
        if len(summaries) > MAX_MODELS:
            break
        url = next_url
        params = None
    raise HubError(f"{subject}: the list does not end after {len(summaries)} models")


def _summarize(entry: dict[str, Any]) -> ModelSummary:
    """Summarize a model by what its card says; what is not of its kind counts as not said."""
    card = entry.get("cardData")
    if not isinstance(card, dict):
        card = {}
    summary = card.get("npid")
    if not isinstance(summary, dict):
        summary = {}
    return ModelSummary(
        name=entry["id"],
        arch=_string(summary.get("arch")),
        embed_dim=_whole(summary.get("dim")),
        parameters=_whole(summary.get("parameters")),
        data=_string(summary.get("data")),
        knn=_knn_accuracy(card.get("model-index")),
    )


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _entries(value: object) -> list[dict[str, Any]]:
    """The dictionaries of a list; none of anything else."""
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, dict)]


def _knn_accuracy(model_index: object) -> float | None:
    """Find the first kNN top-1 of a model-index, as the card writes it."""
    for model in _entries(model_index):
        for result in _entries(model.get("results")):
            for metric in _entries(result.get("metrics")):
                name = str(metric.get("name", ""))
                if metric.get("type") == "accuracy" and name.startswith("kNN top1"):
                    value = metric.get("value")
                    return float(value) if isinstance(value, int | float) else None
    return None
