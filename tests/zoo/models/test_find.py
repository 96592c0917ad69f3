"""From what a user calls a model to its directory; test_bundled has those that ship."""

import pytest

import zoo
from zoo.errors import HubError, ModelError


def test_a_path_is_taken_as_it_is(tmp_path):
    assert zoo.locate(tmp_path / "absent") == tmp_path / "absent"
    assert zoo.locate(str(tmp_path)) == tmp_path


def test_a_name_like_a_repository_is_fetched(tmp_path, monkeypatch):
    fetched = []

    def pull(model):
        fetched.append(model)
        return tmp_path

    monkeypatch.setattr(zoo.hub, "pull", pull)
    assert zoo.locate("lab/model@v1") == tmp_path and fetched == ["lab/model@v1"]


def test_a_failed_fetch_says_that_there_is_no_folder_either(monkeypatch):
    class NotFoundError(HubError):
        pass

    def pull(model):
        raise NotFoundError(f"{model}: no such repository")

    monkeypatch.setattr(zoo.hub, "pull", pull)
    with pytest.raises(NotFoundError, match=r"no such repository\n\(nor is there a folder lab/x"):
        zoo.locate("lab/x")


def test_a_name_that_is_nothing_gets_those_that_ship():
    with pytest.raises(ModelError, match="did you mean 'npid-cifar10-small'.*those that do:"):
        zoo.locate("npid-cifar10-smal")
