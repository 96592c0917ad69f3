"""The checks before a run begins or goes on, one by one; test_trainer has them within a run."""

from dataclasses import replace

import pytest
import torch

from pretrain import override
from pretrain.checkpoint import RunProgress
from pretrain.run_folder import check_processes, check_unchanged, local_batch_size
from tests.pretrain.runs import TINY
from zoo import RunError, SettingsError
from zoo.data.sources import open_source

CPU = torch.device("cpu")


def progress(**values):
    return RunProgress(settings={}, data={}, versions={}, **values)


def test_every_setting_that_differs_is_named(tmp_path):
    check_unchanged(TINY, replace(TINY), tmp_path)
    other = override(TINY, {"lr": "0.5", "augment.flip": "0.25"})
    with pytest.raises(SettingsError) as caught:
        check_unchanged(other, TINY, tmp_path)
    assert "lr is 0.05, asked for 0.5" in str(caught.value)
    assert "augment.flip is 0.0, asked for 0.25" in str(caught.value)
    assert "epochs" not in str(caught.value)


def test_another_number_of_processes_goes_on_between_epochs_when_asked(tmp_path):
    between = progress(processes=2, total=10, epoch=2)
    check_processes(between, tmp_path, 2, may_change=False)
    check_processes(between, tmp_path, 4, may_change=True)
    check_processes(progress(processes=2), tmp_path, 4, may_change=False)
    with pytest.raises(RunError, match="trained by 2 process.*now 4; add --change-processes"):
        check_processes(between, tmp_path, 4, may_change=False)
    within = progress(processes=2, total=11, epoch=2, step=1)
    check_processes(within, tmp_path, 2, may_change=False)
    with pytest.raises(RunError, match="began epoch 3, now 4; finish it with 2"):
        check_processes(within, tmp_path, 4, may_change=True)


def test_a_batch_is_dealt_out_evenly():
    digits = open_source("digits")
    assert local_batch_size(TINY, digits, 1, CPU) == 256
    assert local_batch_size(TINY, digits, 4, CPU) == 64
    assert local_batch_size(replace(TINY, batch_size=5000), digits, 1, CPU) == len(digits)
    with pytest.raises(SettingsError, match="256 images are not dealt out evenly to 3"):
        local_batch_size(TINY, digits, 3, CPU)


def test_all_that_many_processes_cannot_do_comes_in_one_message():
    config = override(TINY, {"loss.name": "parametric", "sync_bn": "true", "batch_size": "3"})
    with pytest.raises(SettingsError) as caught:
        local_batch_size(config, open_source("digits", skip_bad=True), 2, CPU)
    for message in ("batch_size: 3", "loss parametric", "sync_bn", "--skip-bad"):
        assert message in str(caught.value)
