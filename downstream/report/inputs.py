"""What a report is made of: runs, results, model directories and feature stores."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from downstream.features.manifest import MANIFEST
from zoo import DataError
from zoo.models.model_dir import CONFIG, WEIGHTS, read_config, sha256
from zoo.results import METRICS_FILE, Results, read_results

LINES = "metrics.jsonl"

Describe = Callable[[Path], Mapping[str, Any]]
"""From a run's folder to its data, versions and ``settings``; empty where it has no checkpoint."""

_KINDS = (
    "run folders (metrics.jsonl, from `npid pretrain`), model directories (from `npid export`), "
    "metrics.json files (from any task's --json) and feature stores (from `npid embed`)"
)


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A pretraining run.

    Attributes:
        name: its folder.
        lines: of metrics.jsonl: ``event`` is ``epoch`` (loss, lr) or ``knn`` (top1).
        description: settings, data set and versions, where the run has a checkpoint.
    """

    name: str
    lines: Sequence[Mapping[str, Any]]
    description: Mapping[str, Any]

    def curve(self, event: str, value: str) -> list[tuple[float, float]]:
        """List (epoch, value) of the lines of one event that have the value."""
        points = []
        for line in self.lines:
            if line["event"] == event and value in line:
                points.append((line["epoch"], line[value]))
        return points


@dataclass(frozen=True, kw_only=True)
class ModelDirectory:
    """A model directory.

    Attributes:
        name: the directory's.
        sha256: digest of its weights.
        config: its config.json.
    """

    name: str
    sha256: str
    config: Mapping[str, Any]


@dataclass(kw_only=True)
class ReportInputs:
    """Everything that is at the paths, in their order.

    Attributes:
        runs: pretraining runs.
        models: model directories.
        results: of tasks.
        stores: folders of feature stores.
    """

    runs: list[TrainingRun] = field(default_factory=list)
    models: list[ModelDirectory] = field(default_factory=list)
    results: list[Results] = field(default_factory=list)
    stores: list[Path] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.runs) + len(self.models) + len(self.results) + len(self.stores)

    def model_name(self, digest: str) -> str:
        """Name a model by its directory where that is among the inputs, else by its sha256."""
        for model in self.models:
            if model.sha256 == digest:
                return model.name
        return digest[:12]


def gather(paths: Sequence[str | Path], describe: Describe | None = None) -> ReportInputs:
    """Read everything that a report is made of.

    Args:
        paths: run folders, model directories, folders with metrics.json, metrics.json files,
            feature stores.
        describe: gives settings, data and versions of a run folder with a checkpoint.

    Raises:
        DataError, ModelError: naming the path that is none of these, or the file that is broken.
    """
    inputs = ReportInputs()
    seen = set()
    for path in map(Path, paths):
        resolved = path.resolve()
        if resolved in seen:
            continue
        seen.add(resolved)
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; a report is made of {_KINDS}")
        if path.is_dir():
            _add_folder(path, inputs, describe)
        elif path.suffix == ".jsonl":
            name = path.parent.name or path.name
            inputs.runs.append(TrainingRun(name=name, lines=read_lines(path), description={}))
        else:
            inputs.results += read_results(path)
    return inputs


def _add_folder(folder: Path, inputs: ReportInputs, describe: Describe | None) -> None:
    """Add all that a folder is: a model's may hold results, a run's a model."""
    before = len(inputs)
    if (folder / MANIFEST).is_file():
        inputs.stores.append(folder)
    if (folder / LINES).is_file() and not _is_detection_run(folder):
        lines = read_lines(folder / LINES)
        description = describe(folder) if describe is not None else {}
        inputs.runs.append(TrainingRun(name=folder.name, lines=lines, description=description))
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
        config = read_config(folder)
        digest = sha256(folder / WEIGHTS)
        inputs.models.append(ModelDirectory(name=folder.name, sha256=digest, config=config))
    if (folder / METRICS_FILE).is_file():
        inputs.results += read_results(folder / METRICS_FILE)
    if len(inputs) == before:
        raise DataError(f"{folder}: nothing to report in this folder; a report is made of {_KINDS}")


def _is_detection_run(run: Path) -> bool:
    """Whether it is a run of `npid detect`: detectron2 wrote the lines; scores are apart."""
    if not (run / METRICS_FILE).is_file():
        return False
    with open(run / LINES, errors="replace") as file:
        return '"event"' not in file.readline()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics.jsonl, but for a last one that a run is still writing.

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
            lines.append(_parse_line(text))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"{path}, line {number}: not a line of a pretraining run ({reason})"
            ) from error
    if not lines:
        raise DataError(f"{path}: holds no complete line yet; the run has not finished an epoch")
    return lines


def _parse_line(text: str) -> dict[str, Any]:
    """One line of metrics.jsonl; ValueError, KeyError or TypeError where it is none."""
    line: dict[str, Any] = json.loads(text)
    is_event = isinstance(line["event"], str)
    if not (is_event and _is_number(line["epoch"]) and _is_number(line["step"])):
        raise TypeError("event must be a string, epoch and step numbers")
    for key in ("loss", "lr", "top1"):
        if key in line and not _is_number(line[key]):
            raise TypeError("loss, lr and top1 must be numbers")
    return line


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
