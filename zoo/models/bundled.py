"""Models that ship with the library: one model directory each under ``zoo/released``, named after the model."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "released"


def names() -> list[str]:
    """Models that :func:`zoo.load` knows by name, without a network."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def find(name: str) -> Path | None:
    """The directory of a model that ships with the library, or None."""
    return FOLDER / name if name in names() else None
