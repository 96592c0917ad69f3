"""One command made from each task: its options are the fields of the task's config."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from downstream.task import Task, TaskConfig, TaskInputs
from npid.options import Device, Json, Model, SkipBad, Workers
from npid.printing import echo
from zoo.errors import SettingsError

_COMMON = {"device": (Device, "auto"), "workers": (Workers, 0), "skip_bad": (SkipBad, False)}


def task_command(task: Task[Any]) -> Callable[..., None]:
    """A function that typer can make a command of.

    Args:
        task: whose config's fields become options. An option that is not given leaves the preset's
            value.
    """

    def command(**values: Any) -> None:
        _run(task, values)

    command.__doc__ = task.help
    command.__signature__ = inspect.Signature(_parameters(task))  # type: ignore[attr-defined]
    return command


def _parameters(task: Task[Any]) -> list[inspect.Parameter]:
    data = typer.Argument(metavar=task.data_metavar, help=task.data_help)
    parameters = [
        _parameter("model", Model),
        _parameter("data", Annotated[str, data]),
    ]
    if len(list(task.presets)) > 1:
        names = ", ".join(task.presets)
        preset = typer.Option(metavar="NAME", help=f"Named settings to start from: {names}.")
        parameters.append(_parameter("preset", Annotated[str, preset], task.default_preset))
    defaults = task.presets[task.default_preset]
    hints = typing.get_type_hints(task.Config)
    for field in _command_line_fields(task):
        annotation = _annotation(field, hints[field.name], getattr(defaults, field.name))
        parameters.append(_parameter(field.name, annotation, None))
    for name, (annotation, default) in _COMMON.items():
        if name not in task.omitted_options:
            parameters.append(_parameter(name, annotation, default))
    if type(task).figures is not Task.figures:
        plot = typer.Option(metavar="FILE", help="Draw the results as an image file.")
        parameters.append(_parameter("plot", Annotated[Path | None, plot], None))
    parameters.append(_parameter("json", Json, None))
    return parameters


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _command_line_fields(task: Task[Any]) -> list[dataclasses.Field[Any]]:
    """The fields that have an option: the task's own first, then those that every task has."""
    common = {field.name for field in dataclasses.fields(TaskConfig)}
    own_fields: list[dataclasses.Field[Any]] = []
    common_fields: list[dataclasses.Field[Any]] = []
    for field in dataclasses.fields(task.Config):
        if field.metadata.get("hidden", True) or field.name in task.omitted_options:
            continue
        (common_fields if field.name in common else own_fields).append(field)
    return own_fields + common_fields


def _annotation(field: dataclasses.Field[Any], hint: Any, default: Any) -> Any:
    """The type and the option of a field, None standing for the preset's value."""
    metadata = field.metadata
    kind = _plain_type(hint)
    if metadata["positional"]:
        words = typer.Argument(metavar=metadata["metavar"], help=metadata["help"])
        return Annotated[list[str] | None, words]
    flag = metadata["flag"] or _flag(field.name, kind, default)
    details: dict[str, Any] = {"help": metadata["help"], "show_default": _shown(default)}
    if metadata["metavar"]:
        details["metavar"] = metadata["metavar"]
    if metadata["minimum"] is not None and kind in (int, float):
        details["min"] = metadata["minimum"]
    if metadata["maximum"] is not None and kind in (int, float):
        details["max"] = metadata["maximum"]
    return Annotated[kind | None, typer.Option(flag, **details)]


def _plain_type(hint: Any) -> Any:
    """What typer reads a field as: numbers and paths as such, tuples as one text with commas."""
    if typing.get_origin(hint) is tuple:
        return str
    for kind in (bool, int, float, Path):
        if hint is kind or kind in typing.get_args(hint):
            return kind
    return str


def _flag(name: str, kind: Any, default: Any) -> str:
    """``--scratch/--no-scratch`` for what is on by default, ``--eval-only`` for what is off."""
    option = "--" + name.replace("_", "-")
    if kind is bool and default:
        return f"{option}/--no-{option.removeprefix('--')}"
    return option


def _shown(default: Any) -> str | bool:
    """A default as the user would type it; False where there is nothing to show."""
    if default is None or default is False or default == ():
        return False
    if default is True:
        return "on"
    if isinstance(default, tuple):
        return ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in default)
    return str(default)


def _changes(task: Task[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values of the options that were given, as the config's types."""
    hints = typing.get_type_hints(task.Config)
    changes = {}
    for field in _command_line_fields(task):
        value = values[field.name]
        if value is None:
            continue
        if field.metadata["positional"]:
            value = tuple(value)
        elif typing.get_origin(hints[field.name]) is tuple:
            value = _parse_tuple(field.name, hints[field.name], value)
            if not value:
                continue
        changes[field.name] = value
    return changes


def _parse_tuple(name: str, hint: Any, text: str) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    kind = typing.get_args(hint)[0]
    try:
        return tuple(kind(part) for part in parts)
    except ValueError:
        option = "--" + name.replace("_", "-")
        raise SettingsError(f"{option} takes numbers, comma between them, got {text!r}") from None


def _run(task: Task[Any], values: dict[str, Any]) -> None:
    from npid.console import progress_bar, table
    from npid.options import pick_device

    preset = task.presets[values.get("preset", task.default_preset)]
    changes = _changes(task, values)
    changes["device"] = pick_device(values["device"])
    for name in ("workers", "skip_bad"):
        if name in values:
            changes[name] = values[name]
    config: TaskConfig = preset.with_changes(changes)
    config.check()
    inputs = TaskInputs.of(values["model"], values["data"], config)
    with progress_bar(task.name, task.num_images(inputs, config)) as progress:
        results = task.run(inputs, config, progress.add)
    shown = task.table(results)
    table(task.headline(inputs, config), shown.columns, shown.rows)
    for note in task.notes(results):
        echo(f"note: {note}")
    if values.get("plot") is not None:
        from downstream.figures import save_plot

        for figure in task.figures(results, inputs.model_name)[:1]:
            save_plot(figure, values["plot"])
        echo(f"drawn in {values['plot']}")
    if values["json"] is not None:
        results.append(values["json"])
        echo(f"added to {values['json']}")
