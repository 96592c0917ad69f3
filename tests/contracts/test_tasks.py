"""What every registered task must do; a new one is covered by being registered."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from downstream.figures import Figure
from downstream.task import Task, TaskConfig, TaskInputs, option, register_task
from downstream.tasks import TASKS
from npid.main import app
from zoo.errors import SettingsError
from zoo.results import Results
from zoo.utils.registry import Registry

NAMES = list(TASKS)
LABELLED = [name for name in NAMES if TASKS[name].data_metavar == "DATA"]


@pytest.fixture(params=NAMES)
def task(request):
    return TASKS[request.param]


def test_a_task_says_what_it_is(task):
    assert isinstance(task, Task) and TASKS[task.name] is task
    assert task.title and re.fullmatch(r"[a-z-]+", task.hub_task_type)
    assert re.fullmatch(r"[A-Z].*\.", task.help)
    assert issubclass(task.Config, TaskConfig) and task.Config.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(task.Config))


def test_every_setting_has_a_whole_sentence_or_is_hidden(task):
    for field in dataclasses.fields(task.Config):
        assert field.metadata["hidden"] or re.fullmatch(r"[A-Z].*\.", field.metadata["help"])


def test_every_preset_is_valid_and_survives_json(task):
    assert task.default_preset in task.presets
    for name in task.presets:
        config = task.presets[name]
        assert isinstance(config, task.Config)
        config.check()
        recorded = json.loads(json.dumps(config.recorded()))
        assert set(recorded) <= {field.name for field in dataclasses.fields(task.Config)}
        with pytest.raises(SettingsError, match="seed must be at least 0, got -1"):
            config.with_changes({"seed": -1}).check()


def test_the_command_has_an_option_for_every_setting(task):
    done = CliRunner().invoke(app, [task.name, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    for field in dataclasses.fields(task.Config):
        if field.metadata["hidden"] or field.name in task.omitted_options:
            continue
        name = field.metadata["flag"] or "--" + field.name.replace("_", "-")
        if field.metadata["positional"]:
            name = field.metadata["metavar"]
        assert name.split("/")[0] in done.output, field.name
    assert "--json" in done.output and "--device" in done.output


@pytest.mark.parametrize("name", LABELLED)
def test_a_model_or_data_that_is_not_there_is_one_message(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["nothing", "digits"], ["npid-cifar10-small", "nowhere"]):
        done = CliRunner().invoke(app, [name, *words])
        assert done.exit_code == 1 and "Traceback" not in done.output, done.output
        assert words[0] in done.output or words[1] in done.output


def test_tasks_are_found_without_torch():
    code = (
        "import sys\nfrom downstream.tasks import TASKS\n"
        "assert {'knn', 'linear', 'finetune'} <= set(TASKS)\n"
        "heavy = {'torch', 'numpy', 'detectron2'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_incomplete_task_cannot_be_registered():
    class Nameless(Task[TaskConfig]):
        title = "nothing"

        def num_images(self, inputs, config):
            return 0

        def run(self, inputs, config, on_progress=None):
            raise AssertionError

    with pytest.raises(TypeError, match="Nameless lacks name, help, hub_task_type, Config"):
        register_task(Nameless)

    class Idle(Task[TaskConfig]):
        name = title = help = hub_task_type = default_preset = "idle"
        Config = TaskConfig
        presets = Registry("preset")

    with pytest.raises(TypeError, match="abstract"):
        register_task(Idle)
    assert "idle" not in TASKS


def test_a_task_of_one_file_gets_its_command_its_card_and_its_figure(tmp_path, monkeypatch):
    """Nothing but the registration: options, results, figures and the row of a card follow."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class CountConfig(TaskConfig):
        weight: float = option(2.0, "What an image counts for.")
        names: tuple[str, ...] = option(("a", "b"), "Names, with commas between them.")

    registry: Registry[CountConfig] = Registry("counting preset")
    registry.register("plain")(CountConfig())
    monkeypatch.setattr(TASKS, "_things", dict(TASKS._things))

    @register_task
    class Count(Task[CountConfig]):
        name, title, help = "count", "counting", "Count images."
        hub_task_type, default_preset = "image-classification", "plain"
        Config, presets = CountConfig, registry

        def num_images(self, inputs, config):
            return len(inputs.test)

        def run(self, inputs, config, on_progress=None):
            metrics = {"images": config.weight * len(inputs.test)}
            return self.results(inputs, config, split_sizes={}, metrics=metrics, seconds=0.0)

    from npid.task_command import task_command

    command = __import__("typer").Typer()
    command.command("count")(task_command(TASKS["count"]))
    words = ["npid-cifar10-small", "digits", "--weight", "0.5", "--names", "x, y"]
    done = CliRunner().invoke(command, [*words, "--json", str(tmp_path / "metrics.json")])
    assert done.exit_code == 0 and "18000.00" in done.output, done.output
    [entry] = json.loads((tmp_path / "metrics.json").read_text())
    assert entry["settings"]["names"] == ["x", "y"] and entry["metrics"] == {"images": 180.0}

    import zoo
    from zoo import cards

    folder = zoo.save(zoo.create("resnet10", embed_dim=4), tmp_path / "m")
    (folder / "metrics.json").write_text((tmp_path / "metrics.json").read_text())
    assert "| counting | digits | images | 180 |" in cards.render(folder)
    result = TASKS["count"].run(TaskInputs("npid-cifar10-small", "digits"), CountConfig())
    assert isinstance(result, Results)
    assert not [f for f in TASKS["count"].figures(result, "m") if not isinstance(f, Figure)]
