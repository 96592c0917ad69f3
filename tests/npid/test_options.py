import pytest
import torch

from npid.options import pick_device
from zoo.errors import SettingsError


def test_auto_is_a_device_that_there_is():
    assert torch.empty(1, device=pick_device("auto")).numel() == 1
    assert pick_device("cpu") == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named(monkeypatch):
    for device in ("cuda", "tpu9"):
        with pytest.raises(SettingsError, match=f"--device {device}: not available here"):
            pick_device(device)


def test_a_process_of_torchrun_gets_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)
    assert pick_device("cuda") == "cuda:3" and pick_device("cpu") == "cpu"
