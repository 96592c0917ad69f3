"""What every task returns, and metrics.json: a list of such results beside a model."""

import json
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision

import zoo
from zoo import DataError
from zoo.files import write_text


def _versions() -> dict[str, str]:
    return {"npid-zoo": zoo.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}


def command_line() -> str:
    """What the user typed, ``python -m npid`` as ``npid``."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name  # python -m npid is npid
    return shlex.join([name, *sys.argv[1:]])


@dataclass(frozen=True, kw_only=True)
class Results:
    """One task's outcome.

    Attributes:
        task: ``knn``, ``linear``, …
        data: what the user typed.
        split_sizes: images per split.
        settings: of the task, resolved.
        metrics: name → value; accuracies lie in 0–1.
        model_sha256: of the weight file.
        seconds: the task took.
        versions: of the libraries.
        command: that gave it.
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
    details: dict[str, Any] = field(default_factory=dict)

    def append(self, path: str | Path) -> None:
        """Add to a metrics.json in one step; the file is made if need be."""
        old = [asdict(r) for r in read(path)] if Path(path).exists() else []
        write_text(path, json.dumps([*old, asdict(self)], indent=2, ensure_ascii=False) + "\n")


def read(path: str | Path) -> list[Results]:
    """The results of a metrics.json.

    Raises:
        DataError: if it is none.
    """
    try:
        return [Results(**entry) for entry in json.loads(Path(path).read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a list of results ({error})") from error
