"""``npid report``."""

import json

from tests.npid.command_line import TINY, npid
from tests.pages import Html, clusters


def test_wrong_paths_and_options_get_one_message(tmp_path):
    store = clusters(tmp_path / "digits.store", 60)
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([tmp_path / "nowhere"], "nowhere: no such file or folder"),
        ([tmp_path / "empty"], "empty: nothing to report"),
        ([store, "--map", "tsen"], "--map: expected one of"),
    ):
        done = npid("report", *words, "--to", tmp_path / "page.html")
        assert done.exit_code == 1 and message in done.output
        assert not (tmp_path / "page.html").exists()


def test_the_command_writes_a_page_of_a_real_run_model_and_results(tmp_path):
    run, model, page = tmp_path / "run", tmp_path / "model", tmp_path / "page.html"
    for words in (
        ["pretrain", "digits", "--out", run, *TINY],
        ["export", run, "--to", model],
        ["knn", model, "digits", "--json", model / "metrics.json"],
        ["report", run, model, "--to", page],
    ):
        done = npid(*words)
        assert done.exit_code == 0, done.output
    assert "runs: 1, models: 1, results: 1" in done.output
    text = Html(page.read_text()).text
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    [result] = json.loads((model / "metrics.json").read_text())
    assert f"{lines[1]['loss']:.4g}" in text and f"{100 * result['metrics']['top1']:.2f}" in text
    assert "augment.size" in text and "bank_momentum" in text and result["model_sha256"] in text
