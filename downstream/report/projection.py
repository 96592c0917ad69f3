"""Features brought to two dimensions."""

import importlib
import importlib.util

import numpy as np

from zoo import SettingsError

METHODS = ("auto", "pca", "tsne", "umap")
_LEAST = 100  # rows, for methods that look at neighbourhoods


def pca(features: np.ndarray) -> np.ndarray:
    """N×D → N×2: the two directions of largest variance; the sign makes the largest weight of each positive."""
    centred = features - features.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)  # variances rising
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(axes.shape[1])])
    flat = centred @ axes
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def umap(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """N×D → N×2 by UMAP (McInnes et al. 2018) on cosines."""
    module = importlib.import_module("umap")
    return module.UMAP(metric="cosine", random_state=seed, n_jobs=1).fit_transform(features)


def tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """N×D → N×2 by t-SNE (van der Maaten and Hinton 2008), scikit-learn's; a minute or more for 10 000 rows."""
    from sklearn.manifold import TSNE

    return TSNE(init="pca", random_state=seed).fit_transform(features)


def flatten(features: np.ndarray, method: str) -> tuple[np.ndarray, str]:
    """Bring N×D float32 features to N×2, as a method of :data:`METHODS` has it; ``auto`` is UMAP where installed.

    Returns:
        N×2, and the name of the method that was used.

    Raises:
        SettingsError: for a method that there is not.
    """
    if method not in METHODS:
        raise SettingsError(f"--map: expected one of {', '.join(METHODS)}, got {method!r}")
    there = importlib.util.find_spec("umap") is not None
    if method == "umap" and not there:
        raise SettingsError(
            "--map umap needs umap-learn: pip install umap-learn, or take --map pca"
        )
    if method == "auto":
        method = "umap" if there else "pca"
    if len(features) < _LEAST:
        method = "pca"
    name, bring = {"pca": ("PCA", pca), "tsne": ("t-SNE", tsne), "umap": ("UMAP", umap)}[method]
    return bring(features), name


def to_square(flat: np.ndarray, side: int) -> np.ndarray:
    """N×2 as whole numbers 0 … side, the same scale both ways, centred; outliers included."""
    low, high = flat.min(0), flat.max(0)
    scale = side / max(float((high - low).max()), 1e-12)
    return np.round((flat - (low + high) / 2) * scale + side / 2).astype(int)
