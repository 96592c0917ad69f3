"""Model cards: README.md made from config.json and metrics.json."""

from zoo.cards.card import METRICS, TAG, Summary, outdated, read_metrics, render, summary, write_all

__all__ = [
    "METRICS",
    "TAG",
    "Summary",
    "outdated",
    "read_metrics",
    "render",
    "summary",
    "write_all",
]
