"""Files that version 0.1 wrote (tests/data/run-0.1) are resumed, exported and read."""

import json
import lzma
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import zoo
from pretrain import PRESETS, PretrainConfig, export, load_run, override, pretrain
from pretrain.checkpoint import read_progress, read_tensors
from pretrain.config import from_dict
from pretrain.losses.infonce import InfoNCEConfig
from zoo.data.sources import open_source

FOLDER = Path(__file__).parents[1] / "data" / "run-0.1"
OLD_KEYS = ("objective", "dim", "batch", "drops", "knn_every")


@pytest.fixture
def old_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    packed = (FOLDER / "checkpoint.safetensors.xz").read_bytes()
    (run / "checkpoint.safetensors").write_bytes(lzma.decompress(packed))
    shutil.copy(FOLDER / "metrics.jsonl", run)
    return run


def check_config(config):
    assert isinstance(config, PretrainConfig)
    assert config.loss == InfoNCEConfig(
        temperature=0.1, negatives=64, shared=True, rescale_negatives=True
    )
    assert (config.embed_dim, config.batch_size, config.eval_every) == (8, 256, 0)
    assert config.lr_milestones == (1,)


def test_the_settings_of_an_old_checkpoint_are_read_under_todays_names(old_run):
    settings = read_progress(old_run).settings
    assert set(OLD_KEYS) <= set(settings)
    check_config(from_dict(settings))


def test_an_old_run_is_resumed_where_it_stood(old_run):
    before = read_progress(old_run)
    momenta = read_tensors(old_run, "optimizer")
    assert before.total == 6 and before.step == 1 and "conv1.weight" in momenta
    texts = {
        "epochs": "2",
        "batch": "256",
        "dim": "8",
        "augment.size": "8",
        "knn_every": "0",
        "amp": "float32",
        "objective.negatives": "64",
        "objective.shared": "true",
        "objective.corrected": "true",
        "objective.name": "infonce",
        "schedule": "step",
        "drops": "1",
    }
    config = override(PRESETS["digits"], texts)
    check_config(config)
    pretrain(open_source("digits"), old_run, config, resume=True)
    after = read_progress(old_run)
    assert (after.epoch, after.step, after.total) == (2, 0, 10)
    assert not set(OLD_KEYS) & set(after.settings)
    first, second = [
        json.loads(line) for line in (old_run / "metrics.jsonl").read_text().splitlines()
    ]
    assert first["step"] == 5 and second["step"] == 10
    assert second["loss"] == pytest.approx(7.451018, rel=1e-3)  # as 0.1 went on with it


def test_the_momenta_of_an_old_run_are_taken_over(old_run):
    """The first step after it moves weights by momentum too: all were 0.001 there."""
    reports = []

    class Halt(Exception):
        pass

    def on_step(report):
        reports.append(report)
        raise Halt

    config = from_dict(read_progress(old_run).settings)
    kept = {}
    with pytest.MonkeyPatch.context() as patch:
        from pretrain import trainer

        step = trainer.train_step

        def watched(state, *more):
            kept.update({name: tensor.clone() for name, tensor in state.tensors().items()})
            return step(state, *more)

        patch.setattr(trainer, "train_step", watched)
        with pytest.raises(Halt):
            pretrain(open_source("digits"), old_run, config, resume=True, on_step=on_step)
    saved = load_file(old_run / "checkpoint.safetensors")
    assert set(kept) == set(saved)
    for name, tensor in saved.items():
        assert torch.equal(kept[name], tensor), name


def test_an_old_run_is_exported(old_run, tmp_path):
    model, bank = load_run(old_run)
    assert model.embed_dim == 8 and len(bank) == 1437
    folder = export(old_run, tmp_path / "model", with_bank=True)
    exported = zoo.load(folder)
    check_config(from_dict(exported.meta["settings"]))
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(exported.embed(images), model.embed(images))


def test_the_settings_in_an_old_model_directory_are_read():
    config = json.loads((FOLDER / "config.json").read_text())
    check_config(from_dict(config["npid"]["settings"]))


def test_an_old_model_directory_loads(old_run, tmp_path):
    folder = export(old_run, tmp_path / "model")
    shutil.copy(FOLDER / "config.json", folder)
    model = zoo.load(folder)
    check_config(from_dict(model.meta["settings"]))
    assert model.embed_dim == 8 and model.input.size == 8
