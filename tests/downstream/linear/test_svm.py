import numpy as np
from sklearn.svm import LinearSVC

from downstream.linear import svm
from tests.downstream.linear.test_lbfgs import regression_data


def test_the_svm_is_scikit_learns_also_for_two_classes_and_missing_ones():
    x, y = regression_data()
    ours = svm.fit(x, y, 6, c=0.5)  # two classes have no image
    theirs = LinearSVC(C=0.5, dual="auto", max_iter=10_000, random_state=0).fit(x, y)
    found = ours(x.float())
    assert np.array_equal(found.argmax(1).numpy(), theirs.predict(x))
    np.testing.assert_allclose(found[:, :4].numpy(), theirs.decision_function(x), atol=1e-3)
    two = (y < 2).nonzero()[:, 0]
    both = svm.fit(x[two], y[two], 2, c=0.5)
    theirs.fit(x[two], y[two])
    assert np.array_equal(both(x[two].float()).argmax(1).numpy(), theirs.predict(x[two]))
