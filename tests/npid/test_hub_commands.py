"""push, pull, list --remote and convert against a Hub on the loopback, with the real client."""

import pytest
import torch
from typer.testing import CliRunner

import zoo
from npid.main import app


def npid(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def saved(tmp_path):
    return zoo.save(zoo.create("resnet10", embed_dim=8).eval(), tmp_path / "model")


@torch.no_grad()
def test_a_model_travels_to_the_hub_and_back(hub, saved, tmp_path):
    done = npid("push", saved, "lab/small", "--dry-run")
    assert (
        done.exit_code == 0
        and "model.safetensors" in done.output
        and "## How to load it" in done.output
    )
    assert not hub.log, "a dry run uses no network"
    done = npid("push", saved, "lab/small", "--tag", "v1", "--endpoint", hub.url)
    assert done.exit_code == 0 and "model.safetensors" in done.output, done.output
    done = npid("pull", "lab/small@v1", "--to", tmp_path / "fetched", "--endpoint", hub.url)
    assert done.exit_code == 0 and 'zoo.load("' in done.output, done.output
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(zoo.load(tmp_path / "fetched").embed(x), zoo.load(saved).embed(x))
    done = npid("list", "--remote", "lab", "--endpoint", hub.url)
    assert done.exit_code == 0 and "lab/small" in done.output and "resnet10" in done.output


def test_what_is_not_on_the_hub_gets_one_message(hub, tmp_path):
    done = npid("pull", "lab/nothing", "--endpoint", hub.url)
    assert done.exit_code == 1 and "lab/nothing" in done.output and "Traceback" not in done.output


def test_a_folder_that_is_not_there_is_named_as_one(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = npid("info", "models/smal")
    assert (
        done.exit_code == 1
        and "offline mode" in done.output
        and "nor is there a folder models/smal" in done.output
    )


def test_a_hub_that_cannot_be_reached_is_one_message_to_a_listing_too(hub, caplog):
    hub.close()
    done = npid("list", "--remote", "lab", "--endpoint", hub.url)
    assert done.exit_code == 1 and done.output.startswith(
        "npid: models of lab: no connection to the Hub"
    )
    assert not caplog.records and "Retry" not in done.output and sum(hub.slept) < 60


def test_convert_reports_what_became_of_the_tensors(saved, tmp_path):
    done = npid("convert", saved, "--to", tmp_path / "flat.safetensors", "--format", "torchvision")
    assert done.exit_code == 0 and "used:" in done.output and "written:" in done.output
    done = npid(
        "convert",
        tmp_path / "flat.safetensors",
        "--arch",
        "resnet10",
        "--stem",
        "small",
        "--to",
        tmp_path / "b",
    )
    assert done.exit_code == 0, done.output
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(zoo.load(tmp_path / "b")(x), zoo.load(saved)(x))
    (tmp_path / "junk.pth").write_bytes(b"junk")
    done = npid("convert", tmp_path / "junk.pth", "--to", tmp_path / "c")
    assert done.exit_code == 1 and "junk.pth" in done.output and not (tmp_path / "c").exists()
