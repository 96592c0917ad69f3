"""Features in two dimensions."""

import numpy as np
import pytest

from downstream.report import projection


def test_pca_is_the_projection_on_the_largest_singular_vectors():
    scales = np.linspace(3, 0.1, 12)
    features = (np.random.default_rng(0).normal(size=(200, 12)) * scales).astype(np.float32)
    flat = projection.pca(features)
    centred = features.astype(np.float64) - features.astype(np.float64).mean(0)
    directions = np.linalg.svd(centred)[2][:2]
    for column, direction in enumerate(directions):
        expected = centred @ direction
        if direction[np.abs(direction).argmax()] < 0:
            expected = -expected
        np.testing.assert_allclose(flat[:, column], expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 12), (7, 1)])
def test_pca_of_next_to_nothing_has_two_columns(shape):
    flat = projection.pca(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    assert flat.shape == (shape[0], 2) and np.isfinite(flat).all()


def test_umap_is_used_where_it_is_installed():
    pytest.importorskip("umap")
    features = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
    flat, name = projection.flatten(features, "auto")
    assert name == "UMAP" and flat.shape == (300, 2)
