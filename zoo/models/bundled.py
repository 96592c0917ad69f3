"""Models that ship with the library: model directories under ``zoo/released``, by their names."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "released"


def names() -> list[str]:
    """List the models that :func:`zoo.load` knows by name, without a network."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def find(name: str) -> Path | None:
    """Find the directory of a model that ships with the library; None if there is none."""
    return FOLDER / name if name in names() else None
