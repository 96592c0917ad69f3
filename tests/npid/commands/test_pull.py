import pytest

import zoo
from tests.npid.command_line import npid


def test_what_is_not_on_the_hub_gets_one_message(hub, tmp_path):
    done = npid("pull", "lab/nothing", "--endpoint", hub.url)
    assert done.exit_code == 1 and "lab/nothing" in done.output and "Traceback" not in done.output


@pytest.mark.parametrize("model", ["lab", "lab/small/x"])
def test_what_is_no_repository_gets_one_message(hub, model):
    done = npid("pull", model, "--endpoint", hub.url)
    assert done.exit_code == 1 and model in done.output and "Traceback" not in done.output
    assert not hub.log, "nothing is asked of the network"


def test_a_model_comes_in_the_revision_that_is_named(hub, saved, tmp_path):
    other = zoo.save(zoo.create("resnet10", embed_dim=4), tmp_path / "other")
    for folder, tag in ((saved, "v1"), (other, "v2")):
        done = npid("push", folder, "lab/small", "--tag", tag, "--endpoint", hub.url)
        assert done.exit_code == 0, done.output
    words = ["pull", "lab/small", "--endpoint", hub.url, "--to"]
    assert npid(*words, tmp_path / "newest").exit_code == 0
    assert npid(*words, tmp_path / "first", "--revision", "v1").exit_code == 0
    assert zoo.load(tmp_path / "newest").embed_dim == 4
    assert zoo.load(tmp_path / "first").embed_dim == 8
