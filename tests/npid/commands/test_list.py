"""The command line, as a user types it."""

import json

import zoo
from tests.npid.command_line import TINY, npid


def test_all_backbones_are_listed():
    done = npid("list")
    assert done.exit_code == 0 and all(name in done.output for name in zoo.list_backbones())


def test_a_model_that_ships_with_the_library_is_listed_scored_and_described(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.models.bundled.FOLDER", tmp_path / "released")
    assert "loads one;" not in npid("list").output
    done = npid("pretrain", "digits", "--out", tmp_path / "run", *TINY)
    words = [
        "export",
        tmp_path / "run",
        "--to",
        tmp_path / "released" / "tiny",
        "--half",
        "--license",
        "apache-2.0",
    ]
    done = npid(*words)
    assert done.exit_code == 0, done.output
    done = npid("knn", "tiny", "digits", "--json", tmp_path / "released" / "tiny" / "metrics.json")
    assert done.exit_code == 0, done.output
    [result] = json.loads((tmp_path / "released" / "tiny" / "metrics.json").read_text())
    done = npid("list")
    row = next(line for line in done.output.splitlines() if "tiny" in line)
    assert "digits" in row and "resnet10" in row and f"{100 * result['metrics']['top1']:.2f}" in row
    done = npid("info", "tiny")
    assert done.exit_code == 0 and "apache-2.0" in done.output and "float16" in done.output


def test_a_hub_that_cannot_be_reached_is_one_message_to_a_listing_too(hub, caplog):
    hub.close()
    done = npid("list", "--remote", "lab", "--endpoint", hub.url)
    assert done.exit_code == 1 and done.output.startswith(
        "npid: models of lab: no connection to the Hub"
    )
    assert not caplog.records and "Retry" not in done.output and sum(hub.slept) < 60
