"""Model cards: README.md made from config.json and metrics.json."""

from zoo.cards.card import TAG, read_metrics, render
from zoo.cards.released import outdated, write_all
from zoo.cards.summary import ModelSummary, summarize

__all__ = [
    "TAG",
    "ModelSummary",
    "outdated",
    "read_metrics",
    "render",
    "summarize",
    "write_all",
]
