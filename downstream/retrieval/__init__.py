"""Features of image collections on disk, and the nearest of them.

store = Store.open("photos.store")
scores, rows = search(store, model.embed(images), top=10)
store.keys[int(rows[0, 0])], store.labels[rows[0]], store.classes
"""

from downstream.features.store import Store
from downstream.retrieval.embed import Settings as EmbedSettings
from downstream.retrieval.embed import embed
from downstream.retrieval.search import search

__all__ = ["EmbedSettings", "Store", "embed", "search"]
