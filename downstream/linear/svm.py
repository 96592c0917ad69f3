"""The paper's linear SVM: scikit-learn's, one class against the rest."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from downstream.linear.lbfgs import Probe
from downstream.linear.probe_context import SOLVERS, Classifier, Work

_NEVER = -1e9  # the score of a class without training images


def fit(features: Tensor, labels: Tensor, classes: int, *, c: float, seed: int = 0) -> Probe:
    """A linear SVM (squared hinge loss) on the features as they are.

    Args:
        features: N×F.
        labels: N int64, at least two different ones.
        classes: C.
        c: the weight of the loss beside ‖w‖²/2.
        seed: of liblinear.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=c, dual="auto", max_iter=10_000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a large C may not converge; the held-out images judge it
        machine.fit(features.float().numpy(), labels.numpy())
    weight, bias = torch.zeros(classes, features.shape[1]), torch.full((classes,), _NEVER)
    w, b = (torch.from_numpy(x).float() for x in (machine.coef_, machine.intercept_))
    if len(machine.classes_) == 2:  # scikit-learn keeps one row for two classes
        w, b = torch.cat([-w, w]), torch.cat([-b, b])
    seen = torch.from_numpy(machine.classes_)
    weight[seen], bias[seen] = w, b
    return Probe(weight, bias, torch.zeros(features.shape[1]), torch.ones(features.shape[1]))


@SOLVERS.register("svm")
def solve(
    work: Work, index: Tensor, values: Mapping[str, Sequence[float]], seed: int
) -> dict[tuple[str, float], Classifier]:
    """One layer after the other, on the CPU."""
    out: dict[tuple[str, float], Classifier] = {}
    for layer, some in values.items():
        x, y = work.rows[layer][index], work.labels[index]
        for c in some:
            probe = fit(x, y, work.classes, c=c, seed=seed)
            out[layer, c] = Probe(
                *(t.to(work.how.device) for t in (probe.weight, probe.bias, probe.mean, probe.std))
            )
    return out
