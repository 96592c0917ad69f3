import json

import pytest

import zoo
from downstream.task import TaskConfig, TaskInputs, count_images, option, run_task
from downstream.tasks import TASKS
from zoo.errors import DataError, ModelError, SettingsError


def test_model_and_data_are_opened_once_and_only_when_asked_for(monkeypatch):
    loads = []
    load = zoo.load
    monkeypatch.setattr(zoo, "load", lambda folder: loads.append(folder) or load(folder))
    inputs = TaskInputs("npid-cifar10-small", "nowhere")
    assert inputs.model is inputs.model and len(loads) == 1
    assert inputs.fresh_model() is not inputs.model and len(loads) == 2
    with pytest.raises(DataError, match="nowhere"):
        _ = inputs.train
    inputs = TaskInputs("no such model", "digits")
    assert inputs.train is inputs.splits[0] and inputs.test is inputs.splits[1]
    with pytest.raises(ModelError, match="no such model"):
        _ = inputs.model


def test_untrained_weights_depend_on_the_seed_alone():
    inputs = TaskInputs("npid-cifar10-small", "digits")
    first, again, other = (inputs.untrained_model(seed) for seed in (1, 1, 2))
    assert first.arch == inputs.model.arch and first.input == inputs.model.input
    assert first.fc.weight.equal(again.fc.weight) and not first.fc.weight.equal(other.fc.weight)


def test_a_minimum_is_checked_and_what_is_not_recorded_stays_out():
    from dataclasses import dataclass

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        count: int = option(3, "How many.", minimum=2)
        folder: str = option("here", "Where to write.", recorded=False)

    Config().check()
    with pytest.raises(
        SettingsError, match="seed must be at least 0, got -3; count must be at least 2, got 1"
    ):
        Config(count=1, seed=-3).check()
    assert "folder" not in json.loads(json.dumps(Config().recorded()))
    assert Config().with_changes({"count": 9}).count == 9


def test_progress_passes_the_note_along():
    seen = []
    count = count_images(lambda images, note: seen.append((images, note)), "train")
    count(4)
    assert seen == [(4, "train")] and count_images(None, "train") is None


def test_a_task_runs_in_one_line_of_python(cache):
    images = []
    results = run_task(
        "knn",
        "npid-cifar10-small",
        "digits",
        k=20,
        on_progress=lambda number, note: images.append(number),
    )
    task = TASKS["knn"]
    inputs = TaskInputs("npid-cifar10-small", "digits")
    assert sum(images) == task.num_images(inputs, task.presets["paper"]) == 1797
    assert results.metrics["top1"] > 0.8 and results.title == "kNN"
    with pytest.raises(SettingsError, match="unknown task 'knm'.*did you mean 'knn'"):
        run_task("knm", "npid-cifar10-small", "digits")
