"""Runs, results and stores are read, and what cannot be used is named."""

import re

import pytest
from typer.testing import CliRunner

from downstream.report import gather
from npid.main import app
from tests.pages import results, run_folder
from zoo import DataError


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"event": "epoch", "step": 1, "epoch": 1}\nnot json\n', "line 2"),
        ('{"step": 1, "epoch": 1}\n', "lacks the key 'event'"),
        ('{"event": "epoch", "step": 1, "epoch": 1, "loss": "low"}\n', "must be numbers"),
        ('{"event": "ep', "holds no complete line yet"),
        ("", "holds no complete line yet"),
    ],
)
def test_a_broken_run_is_named_with_its_line(tmp_path, lines, message):
    (tmp_path / "metrics.jsonl").write_text(lines)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        gather([tmp_path])
    assert str(tmp_path / "metrics.jsonl") in str(error.value)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    run = run_folder(tmp_path / "run")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"event": "epoch", "st')
    [found] = gather([run, run]).runs  # given twice, shown once
    assert found.curve("epoch", "loss") == [(1, 5.4321), (2, 4.1234)]


@pytest.mark.parametrize("text", ["[", "{}", '[{"task": "knn"}]', '[{"task": 1, "data": "d"}]'])
def test_broken_results_are_named_and_the_old_page_stays(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text if text != "{}" else '{"a": 1}')
    (tmp_path / "page.html").write_text("old")
    done = CliRunner().invoke(
        app, ["report", str(tmp_path / "metrics.json"), "--to", str(tmp_path / "page.html")]
    )
    assert (
        done.exit_code == 1
        and str(tmp_path / "metrics.json") in done.output
        and "Traceback" not in done.output
    )
    assert (tmp_path / "page.html").read_text() == "old"


def test_results_with_a_metric_that_is_no_number_are_named(tmp_path):
    results("knn", {"top1": "high"}).append(tmp_path / "metrics.json")  # type: ignore[dict-item]
    with pytest.raises(DataError, match="knn: top1 must be a number, got 'high'"):
        gather([tmp_path])


def test_a_detection_run_shows_its_scores_not_its_lines(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 19, "total_loss": 2.5}\n')
    results("detect", {"AP50": 0.25}).append(tmp_path / "metrics.json")
    found = gather([tmp_path])
    assert not found.runs and found.results[0].metrics == {"AP50": 0.25}
