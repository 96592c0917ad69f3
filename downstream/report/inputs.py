"""What a report is made of: run folders, metrics.json files, model directories and feature stores."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from downstream.features.store import MANIFEST
from zoo import DataError
from zoo.models.model_dir import CONFIG, WEIGHTS, read_config, sha256
from zoo.results import Results, read

METRICS, LINES = "metrics.json", "metrics.jsonl"

Describe = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run.

    Attributes:
        name: its folder.
        lines: of metrics.jsonl: ``event`` is ``epoch`` (loss, lr) or ``knn`` (top1).
        about: settings, data set, versions, where the run has a checkpoint.
    """

    name: str
    lines: list[dict[str, Any]]
    about: dict[str, Any]

    def curve(self, event: str, value: str) -> list[tuple[float, float]]:
        """(epoch, value) of the lines of one event that have it."""
        return [
            (line["epoch"], line[value])
            for line in self.lines
            if line["event"] == event and value in line
        ]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model directory: its config.json and the sha256 of its weights."""

    name: str
    sha256: str
    config: dict[str, Any]


@dataclass(kw_only=True)
class Inputs:
    """Everything that was found at the paths, in their order."""

    runs: list[Run] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    results: list[Results] = field(default_factory=list)
    stores: list[Path] = field(default_factory=list)

    def model_name(self, digest: str) -> str:
        """What to call a model: its folder where that was given too, otherwise the start of the sha256."""
        return next((model.name for model in self.models if model.sha256 == digest), digest[:12])


def gather(paths: Sequence[str | Path], describe: Describe | None = None) -> Inputs:
    """Read everything that a report is made of.

    Args:
        paths: run folders, model directories, folders with metrics.json, metrics.json files, feature stores.
        describe: gives settings, data and versions of a run folder with a checkpoint.

    Raises:
        DataError, ModelError: naming the path that is none of these, or the file that is broken.
    """
    found = Inputs()
    seen = set()
    for path in map(Path, paths):
        if path.resolve() not in seen:
            seen.add(path.resolve())
            _add(path, found, describe)
    return found


def _add(path: Path, found: Inputs, describe: Describe | None) -> None:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; a report is made of {_KINDS}")
    if path.is_file():
        if path.suffix == ".jsonl":
            found.runs.append(
                Run(name=path.parent.name or path.name, lines=read_lines(path), about={})
            )
        else:
            found.results += read_results(path)
        return
    before = len(found.runs) + len(found.models) + len(found.results) + len(found.stores)
    if (path / MANIFEST).is_file():
        found.stores.append(path)
    if (path / LINES).is_file() and not _of_detection(path):
        found.runs.append(
            Run(
                name=path.name,
                lines=read_lines(path / LINES),
                about=describe(path) if describe else {},
            )
        )
    if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        config = read_config(path)
        found.models.append(Model(name=path.name, sha256=sha256(path / WEIGHTS), config=config))
    if (path / METRICS).is_file():
        found.results += read_results(path / METRICS)
    if before == len(found.runs) + len(found.models) + len(found.results) + len(found.stores):
        raise DataError(f"{path}: nothing to report in this folder; a report is made of {_KINDS}")


_KINDS = (
    "run folders (metrics.jsonl, from `npid pretrain`), model directories (from `npid export`), metrics.json files "
    "(from any task's --json) and feature stores (from `npid embed`)"
)


def _of_detection(run: Path) -> bool:
    """Whether the run is one of `npid detect`: its lines are detectron2's, its scores are in its metrics.json."""
    with open(run / LINES, errors="replace") as file:
        return (run / METRICS).is_file() and '"event"' not in file.readline()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl. A last line that a run is still writing is left out.

    Raises:
        DataError: naming the line that cannot be used.
    """
    try:
        texts = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    lines = []
    for number, text in enumerate(texts[:-1], 1):
        try:
            line = json.loads(text)
            if not isinstance(line["event"], str) or not all(
                map(_is_number, (line["epoch"], line["step"]))
            ):
                raise TypeError("event must be a string, epoch and step numbers")
            if not all(_is_number(line[key]) for key in ("loss", "lr", "top1") if key in line):
                raise TypeError("loss, lr and top1 must be numbers")
        except (ValueError, KeyError, TypeError) as error:
            what = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"{path}, line {number}: not a line of a pretraining run ({what})"
            ) from error
        lines.append(line)
    if not lines:
        raise DataError(f"{path}: holds no complete line yet; the run has not finished an epoch")
    return lines


def read_results(path: Path) -> list[Results]:
    """The results of a metrics.json, the types of what is shown checked.

    Raises:
        DataError: naming the file.
    """
    results = read(path)
    for result in results:
        dicts = (
            result.metrics,
            result.split_sizes,
            result.settings,
            result.versions,
            result.details,
        )
        texts = (result.task, result.data, result.model_sha256, result.command)
        if not all(isinstance(d, dict) for d in dicts) or not all(
            isinstance(t, str) for t in texts
        ):
            raise DataError(
                f"{path}: not a list of results: a value has the wrong type; run the task again with --json"
            )
        for name, value in (*result.metrics.items(), ("seconds", result.seconds)):
            if not _is_number(value):
                raise DataError(f"{path}: {result.task}: {name} must be a number, got {value!r}")
    return results


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
