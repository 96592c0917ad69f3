"""metrics.json: what is written comes back, other versions' files are read, faults are named."""

import dataclasses
import json
import subprocess
import sys

import pytest

from zoo.errors import DataError, ModelError
from zoo.results import Results, read_results

SMALLEST = {"task": "knn", "data": "digits", "metrics": {"top1": 0.5}}


def make_results(**changes):
    values = {
        "task": "knn",
        "data": "digits",
        "split_sizes": {"train": 5, "test": 2},
        "settings": {"k": 3},
        "metrics": {"top1": 0.5},
        "model_sha256": "ab" * 32,
        "seconds": 1.5,
        "title": "kNN",
        "hub_task_type": "image-classification",
    }
    return Results(**{**values, **changes})


def test_results_come_back_in_their_order(tmp_path):
    first = make_results()
    second = make_results(metrics={"top1": 1}, details={"seeds": [1, 2]})
    first.append(tmp_path / "metrics.json")
    second.append(tmp_path / "metrics.json")
    assert read_results(tmp_path / "metrics.json") == [first, second]
    assert {"npid-zoo", "torch", "torchvision"} == set(first.versions)


def test_what_an_older_file_lacks_is_empty(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps([SMALLEST]))
    (results,) = read_results(tmp_path / "metrics.json")
    assert (results.task, results.data, results.metrics) == ("knn", "digits", {"top1": 0.5})
    assert (results.title, results.hub_task_type, results.details) == ("", "", {})
    assert (results.command, results.versions, results.seconds) == ("", {}, 0)


def test_a_newer_files_keys_are_left_out_and_survive_an_append(tmp_path):
    entry = {**dataclasses.asdict(make_results()), "energy": 3}
    (tmp_path / "metrics.json").write_text(json.dumps([entry]))
    (results,) = read_results(tmp_path / "metrics.json")
    assert results == make_results(command=results.command)
    results.append(tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text())[0] == entry


def test_nested_metrics_get_dotted_names(tmp_path):
    entry = {**SMALLEST, "metrics": {"res5": {"top1": 0.5, "top5": 0.75}}}
    (tmp_path / "metrics.json").write_text(json.dumps([entry]))
    (results,) = read_results(tmp_path / "metrics.json")
    assert results.metrics == {"res5.top1": 0.5, "res5.top5": 0.75}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a list of results"),
        ("3", "expected a list, got int"),
        ("{}", "expected a list, got dict"),
        ("[3]", "expected a dictionary per result, got int"),
        ('[{"task": "knn"}]', "a result lacks the key 'data'"),
        (json.dumps([{**SMALLEST, "metrics": {"top1": "good"}}]), "knn: top1 must be a number"),
        (json.dumps([{**SMALLEST, "metrics": {"top1": True}}]), "knn: top1 must be a number"),
        (json.dumps([{**SMALLEST, "metrics": [1]}]), "metrics must be a dictionary"),
        (json.dumps([{**SMALLEST, "settings": "k"}]), "settings must be a dictionary"),
        (json.dumps([{**SMALLEST, "seconds": "1"}]), "seconds must be a number, got '1'"),
        (json.dumps([{**SMALLEST, "data": 3}]), "data must be a string, got 3"),
        (json.dumps([{**SMALLEST, "title": None}]), "title must be a string, got None"),
        ("[" * 100_000, "not a list of results"),
    ],
)
def test_a_fault_is_one_error_that_names_file_and_fault(tmp_path, content, message):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value) and "--json" in str(caught.value)
    with pytest.raises(ModelError, match=message):
        read_results(path, error=ModelError)
    with pytest.raises(DataError):
        make_results().append(path)
    assert path.read_text() == content


def test_a_file_that_cannot_be_read_is_one_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_results(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="not a list of results"):
        read_results(tmp_path / "metrics.json")


APPEND = """
import sys
from zoo.results import Results

for number in range(5):
    Results(
        task="knn", data=f"{sys.argv[2]}-{number}", split_sizes={}, settings={},
        metrics={"top1": 0.5}, model_sha256="", seconds=0.0, versions={},
    ).append(sys.argv[1])
"""


def test_processes_that_append_at_once_lose_nothing(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    processes = []
    for number in range(6):
        command = [sys.executable, "-c", APPEND, str(path), str(number)]
        processes.append(subprocess.Popen(command))
    assert [process.wait() for process in processes] == [0] * 6
    assert len({result.data for result in read_results(path)}) == 30
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]
