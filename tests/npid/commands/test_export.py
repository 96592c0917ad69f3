import pytest

import zoo
from tests.npid.command_line import TINY, check_refused, npid


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    done = npid("pretrain", "digits", "--out", folder, *TINY)
    assert done.exit_code == 0, done.output
    return folder


def test_files_are_listed_and_nothing_is_replaced_unasked(tmp_path, run):
    model = tmp_path / "model"
    done = npid("export", run, "--to", model, "--license", "apache-2.0")
    assert done.exit_code == 0 and f'zoo.load("{model}")' in done.output
    for path in model.iterdir():
        assert str(path) in done.output
    assert zoo.load(model).meta["license"] == "apache-2.0" and zoo.load_bank(model) is None
    before = (model / "model.safetensors").read_bytes()
    done = npid("export", run, "--to", model, "--half", "--bank")
    assert done.exit_code == 1 and str(model) in done.output
    assert (model / "model.safetensors").read_bytes() == before
    done = npid("export", run, "--to", model, "--half", "--bank", "--replace")
    assert done.exit_code == 0 and len(zoo.load_bank(model)) == 1437
    assert len((model / "model.safetensors").read_bytes()) < 0.6 * len(before)


def test_a_folder_that_is_no_run_gets_one_message(tmp_path):
    done = npid("export", tmp_path, "--to", tmp_path / "model")
    check_refused(done, "checkpoint.safetensors: not found")
    assert not (tmp_path / "model").exists()
