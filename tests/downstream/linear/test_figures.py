"""The plot of linear probes."""

from downstream.linear.figures import layer_figure
from tests.pages import results

METRICS = {"res2": 0.41, "res5": 0.62, "untrained/res2": 0.39, "untrained/res5": 0.2}


def test_a_line_for_each_weights_and_a_level_one_for_pixels():
    figure = layer_figure(results("linear", {**METRICS, "pixels": 0.377}), "mine")
    lines = {line.name: list(line.points) for line in figure.series}
    assert lines == {
        "pretrained": [(0, 41.0), (1, 62.0)],
        "untrained": [(0, 39.0), (1, 20.0)],
        "pixels": [(0, 37.7), (1, 37.7)],
    }
    assert list(figure.x_names) == [(0, "res2"), (1, "res5")]
    assert figure.title == "Linear probes of mine on cifar10"
    assert len(figure.table.rows) == 5


def test_published_layers_are_dashed_and_one_layer_alone_is_no_line():
    figure = layer_figure(results("linear", METRICS, data="places205"), "mine")
    [published] = [line for line in figure.series if line.dashed]
    assert list(published.points) == [(0, 34.03), (1, 47.73)]
    assert not [x for x in layer_figure(results("linear", METRICS), "").series if x.dashed]
