"""``npid report``."""

import json

from typer.testing import CliRunner

from npid.main import app
from tests.pages import Html


def test_wrong_paths_and_options_get_one_message(tmp_path, store):
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([tmp_path / "nowhere"], "nowhere: no such file or folder"),
        ([tmp_path / "empty"], "empty: nothing to report"),
        ([store, "--map", "tsen"], "--map: expected one of"),
    ):
        done = CliRunner().invoke(
            app, ["report", *map(str, words), "--to", str(tmp_path / "page.html")]
        )
        assert (
            done.exit_code == 1 and message in done.output and not (tmp_path / "page.html").exists()
        )


def test_the_command_writes_a_page_of_a_real_run_model_and_results(tmp_path):
    run, model, page = tmp_path / "run", tmp_path / "model", tmp_path / "page.html"
    tiny = [
        "--preset",
        "digits",
        "--epochs",
        "1",
        "--set",
        "augment.size=8",
        "--set",
        "batch=256",
        "--set",
        "dim=16",
    ]
    for words in (
        ["pretrain", "digits", "--out", run, *tiny],
        ["export", run, "--to", model],
        ["knn", model, "digits", "--json", model / "metrics.json"],
        ["report", run, model, "--to", page],
    ):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    assert "runs: 1, models: 1, results: 1" in done.output
    text = Html(page.read_text()).text
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    [result] = json.loads((model / "metrics.json").read_text())
    assert f"{lines[1]['loss']:.4g}" in text and f"{100 * result['metrics']['top1']:.2f}" in text
    assert "augment.size" in text and "bank_momentum" in text and result["model_sha256"] in text
