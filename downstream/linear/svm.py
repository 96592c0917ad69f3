"""The paper's linear SVM: scikit-learn's, one class against the rest."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from downstream.linear.lbfgs import LinearProbe
from downstream.linear.probe_context import SOLVERS, ProbeContext, ScoreFunctions

_NEVER = -1e9  # the score of a class without training images


def fit(
    features: Tensor, labels: Tensor, num_classes: int, *, c: float, seed: int = 0
) -> LinearProbe:
    """A linear SVM (squared hinge loss) on the features as they are.

    Args:
        features: N×F.
        labels: N int64, at least two different ones.
        num_classes: C.
        c: the weight of the loss beside ‖w‖²/2.
        seed: of liblinear.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=c, dual="auto", max_iter=10_000, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # a large C may not converge; the held-out images judge it
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(features.float().numpy(), labels.numpy())
    seen_weight = torch.from_numpy(machine.coef_).float()
    seen_bias = torch.from_numpy(machine.intercept_).float()
    if len(machine.classes_) == 2:  # scikit-learn keeps one row for two classes
        seen_weight = torch.cat([-seen_weight, seen_weight])
        seen_bias = torch.cat([-seen_bias, seen_bias])
    seen = torch.from_numpy(machine.classes_)
    weight = torch.zeros(num_classes, features.shape[1])
    bias = torch.full((num_classes,), _NEVER)
    weight[seen] = seen_weight
    bias[seen] = seen_bias
    width = features.shape[1]
    return LinearProbe(weight, bias, torch.zeros(width), torch.ones(width))


@SOLVERS.register("svm")
def solve(
    context: ProbeContext, indices: Tensor, values: Mapping[str, Sequence[float]], seed: int
) -> ScoreFunctions:
    """Fit one layer after the other, on the CPU."""
    fitted: ScoreFunctions = {}
    labels = context.labels[indices]
    for layer, penalties in values.items():
        features = context.train_features[layer][indices]
        for c in penalties:
            probe = fit(features, labels, context.num_classes, c=c, seed=seed)
            fitted[layer, c] = probe.to(context.config.device)
    return fitted
