import torch

import zoo
from tests.npid.command_line import npid


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
