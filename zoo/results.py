"""What every task returns, and metrics.json: a list of such results beside a model."""

import importlib.metadata
import json
import shlex
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo import __version__
from zoo.errors import DataError, NpidError
from zoo.utils.files import file_lock, write_text
from zoo.utils.nested import flatten_dict

METRICS_FILE = "metrics.json"

_REQUIRED = ("task", "data", "metrics")  # older files may lack the others
_STRINGS = ("task", "data", "model_sha256", "command", "title", "hub_task_type")
_DICTS = ("split_sizes", "settings", "metrics", "versions", "details")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results and weights depend on."""
    versions = {"npid-zoo": __version__}
    for name in ("torch", "torchvision"):
        versions[name] = importlib.metadata.version(name)
    return versions


def command_line() -> str:
    """Return what the user typed, with ``python -m npid`` shortened to ``npid``."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


@dataclass(frozen=True, kw_only=True)
class Results:
    """The outcome of one task.

    Attributes:
        task: Name of the task, such as ``knn`` or ``linear``.
        data: The data set, as the user named it.
        split_sizes: Number of images per split.
        settings: The task's settings, resolved.
        metrics: Name → value; accuracies lie in 0–1.
        model_sha256: Digest of the weight file.
        seconds: How long the task took.
        versions: Versions of the libraries.
        command: The command line that was given.
        title: What cards call the task; empty in files of older versions.
        hub_task_type: The Hub's name for the kind of task; empty in files of older versions.
        details: What is too long for a table, such as the score of every seed.
    """

    task: str
    data: str
    split_sizes: dict[str, int]
    settings: dict[str, Any]
    metrics: dict[str, float]
    model_sha256: str
    seconds: float
    versions: dict[str, str] = field(default_factory=library_versions)
    command: str = field(default_factory=command_line)
    title: str = ""
    hub_task_type: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def append(self, path: str | Path) -> None:
        """Add these results to a metrics.json in one step; processes that do so at once take turns.

        Args:
            path: The file, which is made if need be. What it holds already stays as it is.

        Raises:
            DataError: If the file is not a list of results.
            WriteError: If it cannot be written; it is unchanged then.
        """
        with file_lock(path):
            entries: list[dict[str, Any]] = []
            if Path(path).exists():
                read_results(path)
                entries = json.loads(Path(path).read_text())
            entries.append(asdict(self))
            write_text(path, json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def read_results(path: str | Path, *, error: type[NpidError] = DataError) -> list[Results]:
    """Read a metrics.json.

    Files of other versions are read too: keys that this version does not know are left out, and
    those that are missing are empty.

    Args:
        path: The file.
        error: The error that a fault raises: DataError, or ModelError where the file is part of a
            model.

    Returns:
        The results, newest last.

    Raises:
        DataError: If the file cannot be read, is not a list of results with ``task``, ``data`` and
            ``metrics``, or holds a value of the wrong type; or what ``error`` says instead.
    """
    try:
        entries = json.loads(Path(path).read_text())
        if not isinstance(entries, list):
            raise TypeError(f"expected a list, got {type(entries).__name__}")
        return [_parse(entry) for entry in entries]
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise error(
            f"{path}: not a list of results: {fault}; run the task again with --json"
        ) from fault


def _parse(entry: Any) -> Results:
    """Make one entry of the list into results.

    Raises:
        TypeError: If the entry or a value has the wrong type.
        ValueError: If a key is missing.
    """
    if not isinstance(entry, dict):
        raise TypeError(f"expected a dictionary per result, got {type(entry).__name__}")
    for key in _REQUIRED:
        if key not in entry:
            raise ValueError(f"a result lacks the key {key!r}")
    values: dict[str, Any] = {"seconds": 0.0}
    values |= dict.fromkeys(_STRINGS, "")
    for key in _DICTS:
        values[key] = {}
    for known in fields(Results):
        if known.name in entry:
            values[known.name] = entry[known.name]
    _check_types(values)
    values["metrics"] = flatten_dict(values["metrics"])
    _check_numbers(values)
    return Results(**values)


def _check_types(values: dict[str, Any]) -> None:
    for key in _STRINGS:
        if not isinstance(values[key], str):
            raise TypeError(f"{key} must be a string, got {values[key]!r}")
    for key in _DICTS:
        if not isinstance(values[key], dict):
            raise TypeError(f"{key} must be a dictionary, got {values[key]!r}")


def _check_numbers(values: dict[str, Any]) -> None:
    for name, value in (*values["metrics"].items(), ("seconds", values["seconds"])):
        if not _is_number(value):
            raise TypeError(f"{values['task']}: {name} must be a number, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
