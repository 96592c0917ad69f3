import pytest

from downstream.figures import Figure, Series, Table, percent_with_spread, save_plot


def test_a_spread_is_shown_where_there_is_one():
    assert percent_with_spread({"a": 0.1234}, "a") == "12.34"
    assert percent_with_spread({"a": 0.1234, "a_std": 0.01}, "a") == "12.34 ± 1.00"


def test_a_figure_becomes_an_image_with_its_names(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure as Canvas

    from downstream.figures import draw_on_axes

    figure = Figure(
        title="t",
        x_label="x",
        y_label="y",
        series=[
            Series(name="one", points=[(1, 10), (10, 20)], spread=[1, 2]),
            Series(name="reference", points=[(1, 5), (10, 5)], dashed=True),
        ],
        x_names=[(1, "first"), (10, "second")],
        log_x=True,
        table=Table(columns=("a",), rows=[(1,)]),
    )
    axes = Canvas().subplots()
    draw_on_axes(axes, figure)
    assert axes.get_xscale() == "log" and axes.get_title() == "t"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\nfirst", "10\nsecond"]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"one", "reference"}
    save_plot(figure, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
