"""The plot of fine-tuning."""

from downstream.finetune.figures import few_label_figure
from tests.pages import results

SIZES = {"train": 800, "test": 16, "1%": 8, "10%": 80}


def metrics(name):
    return {
        f"pretrained/10%/{name}": 0.75,
        f"pretrained/1%/{name}": 0.5,
        f"pretrained/1%/{name}_std": 0.02,
        f"scratch/1%/{name}": 0.25,
    }


def test_accuracy_by_labelled_images_with_the_spread_over_seeds():
    given = results("finetune", metrics("top1"), split_sizes=SIZES)
    figure = few_label_figure(given, "mine")
    pretrained, scratch = figure.series
    assert list(pretrained.points) == [(8, 50.0), (80, 75.0)]
    assert list(pretrained.spread) == [2.0, 0.0]
    assert list(scratch.points) == [(8, 25.0)]
    assert figure.log_x and figure.y_label == "top-1, %"
    assert list(figure.x_names) == [(8, "1%"), (80, "10%")]
    assert figure.note == "1%: 8 images, 10%: 80 images"


def test_top5_is_drawn_where_top5_was_published():
    given = results("finetune", metrics("top5"), data="imagenet", split_sizes=SIZES)
    figure = few_label_figure(given, "mine")
    assert figure.y_label == "top-5, %"
    published = [list(line.points) for line in figure.series if line.dashed]
    assert published == [[(8, 39.2), (80, 77.4)], [(8, 54.37), (80, 81.39)]]


def test_parts_without_a_size_are_left_out():
    figure = few_label_figure(results("finetune", metrics("top1"), split_sizes={"1%": 8}), "mine")
    assert list(figure.x_names) == [(8, "1%")]
