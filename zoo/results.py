"""What every task returns, and metrics.json: a list of such results beside a model."""

import importlib.metadata
import json
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zoo import __version__
from zoo.errors import DataError
from zoo.utils.files import write_text

METRICS = "metrics.json"


def _versions() -> dict[str, str]:
    installed = {name: importlib.metadata.version(name) for name in ("torch", "torchvision")}
    return {"npid-zoo": __version__, **installed}


def command_line() -> str:
    """What the user typed, with ``python -m npid`` told as ``npid``."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


@dataclass(frozen=True, kw_only=True)
class Results:
    """One task's outcome.

    Attributes:
        task: name of the task, as ``knn`` or ``linear``.
        data: what the user typed.
        split_sizes: images per split.
        settings: of the task, resolved.
        metrics: name → value; accuracies lie in 0–1.
        model_sha256: digest of the weight file.
        seconds: how long the task took.
        versions: of the libraries.
        command: that gave it.
        title: what cards call the task; empty in files of older versions.
        hub_task_type: the Hub's name for the kind of task; empty in files of older versions.
        details: what is too long for a table, as the score of every seed.
    """

    task: str
    data: str
    split_sizes: dict[str, int]
    settings: dict[str, Any]
    metrics: dict[str, float]
    model_sha256: str
    seconds: float
    versions: dict[str, str] = field(default_factory=_versions)
    command: str = field(default_factory=command_line)
    title: str = ""
    hub_task_type: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def append(self, path: str | Path) -> None:
        """Add to a metrics.json in one step; the file is made if need be."""
        results = read(path) if Path(path).exists() else []
        entries = [asdict(result) for result in [*results, self]]
        write_text(path, json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def read(path: str | Path) -> list[Results]:
    """The results of a metrics.json.

    Raises:
        DataError: if it is none.
    """
    try:
        return [Results(**entry) for entry in json.loads(Path(path).read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a list of results ({error})") from error
