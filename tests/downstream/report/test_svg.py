"""Plots as SVG."""

import math
import re

import numpy as np
import pytest

from downstream.figures import Figure, Series
from downstream.report import svg


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (2.31, 2.35), (-3, 1700), (5, 5), (1e-7, 3e-7), (0, 0)]
)
def test_ticks_are_round_few_and_span_the_values(low, high):
    found = svg.ticks(low, high)
    steps = np.diff(found)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8
    mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert np.allclose(steps, steps[0]) and any(
        math.isclose(mantissa, m, rel_tol=1e-6) for m in (1, 2, 5, 10)
    )


def plot(series, **more):
    return Figure(title="", x_label="x", y_label="y", series=series, **more)


def test_a_line_runs_through_its_points():
    points = [(1.0, 10.0), (10.0, 20.0), (100.0, 40.0)]
    text = svg.draw(plot([Series(name="a<b", points=points)], log_x=True))
    path = re.search(r'class="line" d="M([^"]+)"', text)[1]
    places = np.array([pair.split() for pair in path.split("L")], float)
    x, y = places[:, 0], places[:, 1]
    assert x[1] == pytest.approx((x[0] + x[2]) / 2, abs=0.1)  # a decade each
    assert (y[1] - y[2]) == pytest.approx(2 * (y[0] - y[1]), abs=0.3)
    assert "a&lt;b" in text and svg.draw(plot([Series(name="", points=[])])) == ""
