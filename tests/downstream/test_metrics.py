import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from downstream.metrics import over_seeds, score_classes


@pytest.mark.parametrize("classes", [3, 9, 120])
def test_scores_are_those_of_scikit_learn(classes):
    torch.manual_seed(0)
    logits, truth = (
        torch.randn(400, classes),
        torch.randint(classes - 1, (400,)),
    )  # the last class has no image
    logits[torch.arange(400), truth] += 1
    names = [f"c{i}" for i in range(classes)]
    found = score_classes(logits, truth, names)
    y, every = truth.numpy(), np.arange(classes)
    assert found["top1"] == pytest.approx(
        top_k_accuracy_score(y, logits.numpy(), k=1, labels=every)
    )
    assert ("top5" in found) == (classes > 5)
    if classes > 5:
        assert found["top5"] == pytest.approx(
            top_k_accuracy_score(y, logits.numpy(), k=5, labels=every)
        )
    table = confusion_matrix(y, logits.argmax(1).numpy(), labels=every)
    if classes <= 100:
        assert found["confusion"] == table.tolist()
    else:
        rebuilt = np.zeros_like(table)
        for true, guess, count in found["confusion"]:
            rebuilt[true, guess] = count
        assert np.array_equal(rebuilt, table)
    seen = [i for i in every if table[i].sum()]
    assert found["per_class"] == {
        names[i]: pytest.approx(table[i, i] / table[i].sum()) for i in seen
    }
    assert names[-1] not in found["per_class"]


def test_means_and_spreads_over_seeds():
    assert over_seeds("res5", [{"top1": 0.5}]) == {"res5/top1": 0.5}
    two = over_seeds("res5", [{"top1": 0.5, "top5": 1.0}, {"top1": 0.7, "top5": 1.0}])
    assert two == {
        "res5/top1": pytest.approx(0.6),
        "res5/top1_std": pytest.approx(np.std([0.5, 0.7], ddof=1)),
        "res5/top5": 1.0,
        "res5/top5_std": 0.0,
    }
