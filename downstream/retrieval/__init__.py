"""Features of image collections on disk, and the nearest of them.

store = FeatureStore.open("photos.store")
scores, rows = search(store, model.embed(images), top=10)
store.keys[int(rows[0, 0])], store.labels[rows[0]], store.classes
"""

from downstream.features.store import FeatureStore
from downstream.retrieval.embed import EmbedConfig, embed
from downstream.retrieval.search import search

__all__ = ["EmbedConfig", "FeatureStore", "embed", "search"]
