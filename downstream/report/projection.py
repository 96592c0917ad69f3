"""Features brought to two dimensions."""

import importlib
import importlib.util

import numpy as np
from numpy.typing import NDArray

from zoo import SettingsError

METHODS = ("auto", "pca", "tsne", "umap")
_MIN_NEIGHBOURHOOD_ROWS = 100  # fewer have no neighbourhoods to speak of


def pca(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project on the two directions of largest variance, by scikit-learn.

    Args:
        features: N×D, two rows or more; the second column is zeros where D is 1.

    Returns:
        N×2; the sign makes the largest weight of each direction positive.
    """
    from sklearn.decomposition import PCA

    count = min(2, *features.shape)
    flat: NDArray[np.float32] = PCA(count, svd_solver="covariance_eigh").fit_transform(features)
    return np.pad(flat, ((0, 0), (0, 2 - count)))


def umap(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Bring N×D features to N×2 by UMAP (McInnes et al. 2018) on cosines."""
    module = importlib.import_module("umap")
    flat: NDArray[np.float32] = module.UMAP(
        metric="cosine", random_state=seed, n_jobs=1
    ).fit_transform(features)
    return flat


def tsne(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Bring N×D features to N×2 by t-SNE (van der Maaten and Hinton 2008), scikit-learn's.

    It takes a minute or more for 10 000 rows.
    """
    from sklearn.manifold import TSNE

    flat: NDArray[np.float32] = TSNE(init="pca", random_state=seed).fit_transform(features)
    return flat


def flatten(features: NDArray[np.float32], method: str) -> tuple[NDArray[np.float32], str]:
    """Bring features to two dimensions.

    Args:
        features: N×D.
        method: one of :data:`METHODS`; ``auto`` is UMAP where it is installed, PCA elsewhere. PCA
            takes the place of any other for fewer than 100 rows.

    Returns:
        N×2, and the name of the method that was used.

    Raises:
        SettingsError: for a method that there is not, or is not installed.
    """
    if method not in METHODS:
        raise SettingsError(f"--map: expected one of {', '.join(METHODS)}, got {method!r}")
    is_umap_installed = importlib.util.find_spec("umap") is not None
    if method == "umap" and not is_umap_installed:
        raise SettingsError(
            "--map umap needs umap-learn: pip install umap-learn, or take --map pca"
        )
    if method == "auto":
        method = "umap" if is_umap_installed else "pca"
    if len(features) < _MIN_NEIGHBOURHOOD_ROWS or method == "pca":
        return pca(features), "PCA"
    if method == "umap":
        return umap(features), "UMAP"
    return tsne(features), "t-SNE"


def to_square(flat: NDArray[np.float32], side: int) -> NDArray[np.int64]:
    """Scale N×2 to whole numbers 0 … side, the same scale both ways, centred; outliers included."""
    low = flat.min(0)
    high = flat.max(0)
    scale = side / max(float((high - low).max()), 1e-12)
    centred = flat - (low + high) / 2
    positions: NDArray[np.int64] = np.round(centred * scale + side / 2).astype(np.int64)
    return positions
