import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from downstream.linear import lbfgs


def regression_data(n=400, width=12, classes=4):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, width)) * rng.uniform(0.1, 10, width) + 3
    y = (x @ rng.normal(size=(width, classes)) + rng.gumbel(size=(n, classes))).argmax(1)
    return torch.from_numpy(x), torch.from_numpy(y)


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
@pytest.mark.parametrize("shape", [(400, 12), (60, 200)])  # the second has fewer rows than columns
@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_the_solver_is_logistic_regression(penalty, shape, memory, monkeypatch):
    monkeypatch.setattr(lbfgs, "_IN_MEMORY", memory)
    monkeypatch.setattr(lbfgs, "_BLOCK", 150 if shape[0] == 400 else 8192)
    x, y = regression_data(*shape)
    ours = lbfgs.fit(x, y, 4, penalties=(penalty, 1.0), iterations=500)[penalty]
    scaled = ((x - x.mean(0)) / x.std(0)).numpy()
    theirs = LogisticRegression(C=1 / (penalty * len(x)), max_iter=5000, tol=1e-8).fit(scaled, y)
    centred = ours.weight.double().numpy() - ours.weight.double().numpy().mean(0)
    np.testing.assert_allclose(centred, theirs.coef_ - theirs.coef_.mean(0), atol=0.02)
    assert (ours(x.float()).argmax(1).numpy() == theirs.predict(scaled)).mean() > 0.99


def test_only_the_rows_asked_for_count():
    x, y = regression_data()
    index = torch.arange(0, 400, 2)
    some = lbfgs.fit(x, y, 4, penalties=(1e-2,), indices=index)[1e-2]
    alone = lbfgs.fit(x[index], y[index], 4, penalties=(1e-2,))[1e-2]
    torch.testing.assert_close(some.weight, alone.weight)
