from downstream.report.figures import draw_curves, draw_results, task_figures
from downstream.report.inputs import TrainingRun, gather
from tests.pages import Html, results, run_folder


def test_curves_are_loss_and_accuracy_in_percent_by_epoch(tmp_path):
    inputs = gather([run_folder(tmp_path / "first"), run_folder(tmp_path / "second")])
    loss, accuracy = draw_curves(inputs.runs)
    assert (loss.figure.title, accuracy.figure.title) == ("Loss", "kNN top-1, %")
    assert [line.name for line in loss.figure.series] == ["first", "second"]
    assert loss.figure.series[0].points == [(1, 5.4321), (2, 4.1234)]
    assert [y for _, y in accuracy.figure.series[0].points] == [31.25, 67.89]
    assert loss.figure.table.columns == ["epoch", "first", "second"]
    assert loss.figure.table.rows[0] == ["1", "5.432", "5.432"]
    assert Html(str(loss.svg)).tags[0][0] == "svg"


def test_an_epoch_that_a_run_lacks_is_an_empty_cell():
    def run(name, *epochs):
        lines = [{"event": "epoch", "step": e, "epoch": e, "loss": 1.0 * e} for e in epochs]
        return TrainingRun(name=name, lines=lines, description={})

    [loss] = draw_curves([run("a", 1, 3), run("b", 2)])
    assert loss.figure.table.rows == [["1", "1", ""], ["2", "", "2"], ["3", "3", ""]]


def test_runs_without_lines_have_no_curves():
    assert draw_curves([TrainingRun(name="a", lines=[], description={})]) == []


def test_a_task_draws_its_results_with_what_others_published():
    probes = results("linear", {"conv1": 0.41, "res5": 0.62}, data="imagenet")
    [drawn] = draw_results(probes, "mine")
    [figure] = task_figures(probes, "mine")
    assert drawn.figure.title == figure.title and figure.series
    assert Html(str(drawn.svg)).tags[0][0] == "svg"
    assert task_figures(results("unheard-of", {"score": 0.5}), "mine") == ()
