import json

import pytest

from downstream.tasks import TASKS
from npid.task_command import _changes, _command_line_fields, _parameters
from tests.npid.command_line import npid


def given(task, **values):
    """What the command line hands over where only these options were typed."""
    every = {field.name: None for field in _command_line_fields(task)}
    return _changes(task, every | values)


def test_text_becomes_the_types_of_the_config():
    finetune = TASKS["finetune"]
    changes = given(finetune, labels="1%, 5 ,list.txt", seeds=2, scratch=False)
    assert changes == {"labels": ("1%", "5", "list.txt"), "seeds": 2, "scratch": False}
    assert given(TASKS["linear"], sweep="0.1,1e-3") == {"sweep": (0.1, 1e-3)}
    assert given(TASKS["linear"], sweep=" , ") == {}, "nothing typed leaves the preset's value"


def test_hidden_settings_have_no_option_and_the_seed_comes_last():
    names = [parameter.name for parameter in _parameters(TASKS["finetune"])]
    assert "momentum" not in names and "recorded" not in names
    assert names[:3] == ["model", "data", "preset"] and names[-2:] == ["plot", "json"]
    first = names.index("lists") + 1
    assert names[first : first + 4] == ["split", "test_split", "holdout", "seed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["finetune", "npid-cifar10-small", "digits", "--seeds", "0"],
            "greater than or equal to 1",
        ),
        (["finetune", "npid-cifar10-small", "digits", "--lr", "-1"], "lr must be positive"),
        (["linear", "npid-cifar10-small", "digits", "--preset", "x"], "unknown linear preset 'x'"),
        (["knn", "npid-cifar10-small", "digits", "--k", "5000"], "k=5000 is larger than the 1437"),
        (["knn", "npid-cifar10-small", "digits", "--temperature", "0"], "temperature must be"),
        (["knn", "npid-cifar10-small", "digits", "--temperature", "nan"], "a finite number"),
        (["knn", "npid-cifar10-small", "digits", "--temperature", "inf"], "a finite number"),
        (["linear", "npid-cifar10-small", "digits", "--sweep", "1,nan"], "a finite number"),
        (["linear", "npid-cifar10-small", "digits", "--seed", "-1"], "than or equal to 0"),
        (
            ["finetune", "npid-cifar10-small", "digits", "--seed", "99999999999"],
            "less than or equal",
        ),
        (["knn", "npid-cifar10-small", "digits", "--holdout", "120%"], "a share such as 20%"),
        (["knn", "npid-cifar10-small", "digits", "--test-split", "train"], "need other images"),
        (["knn", "npid-cifar10-small", "digits", "--split", "extra"], "digits: no extra split"),
    ],
)
def test_values_out_of_range_are_one_message(words, message):
    done = npid(*words)
    assert done.exit_code != 0 and message in done.output and "Traceback" not in done.output


def test_results_are_added_to_a_file_with_what_was_typed(tmp_path):
    metrics = tmp_path / "metrics.json"
    for k in (5, 7):
        done = npid("knn", "npid-cifar10-small", "digits", "--k", k, "--json", metrics)
        assert done.exit_code == 0 and f"kNN of npid-cifar10-small on digits: k={k}" in done.output
    entries = json.loads(metrics.read_text())
    assert [entry["settings"]["k"] for entry in entries] == [5, 7]
    assert entries[0]["title"] == "kNN" and entries[0]["hub_task_type"] == "image-classification"


def test_every_task_on_labelled_images_scores_on_a_held_out_part(tmp_path, picture):
    for number, name in enumerate(("cat", "dog")):
        for seed in range(6):
            picture(tmp_path / "data" / name / f"{seed}.png", side=32, seed=10 * number + seed)
    metrics = tmp_path / "metrics.json"
    shared = ["npid-cifar10-small", tmp_path / "data", "--holdout", "30%", "--json", metrics]
    for words in (["knn", "--k", 3], ["linear", "--layers", "pooled"], ["finetune", "--epochs", 1]):
        extra = ["--labels", "100%", "--no-scratch"] if words[0] == "finetune" else []
        done = npid(words[0], *shared, *words[1:], *extra)
        assert done.exit_code == 0, done.output
    for entry in json.loads(metrics.read_text()):
        assert (entry["split_sizes"]["train"], entry["split_sizes"]["test"]) == (8, 4)
        assert entry["settings"]["holdout"] == "30%"
