"""The cards of the released models, which the repository keeps and checks word for word."""

from pathlib import Path

from zoo.cards.card import render
from zoo.models import bundled
from zoo.utils.files import write_text


def outdated(folder: str | Path) -> list[str]:
    """List the cards that are missing, not what their models' files give, or of no model.

    Args:
        folder: Holds the cards, ``NAME.md``, and ``NAME/config.json`` (with metrics.json beside it)
            of every released model whose weights are not part of this library.

    Returns:
        File names, sorted.
    """
    expected = _released_cards(Path(folder))
    existing = {}
    for path in Path(folder).glob("*.md"):
        existing[path.name] = path.read_text()
    names = expected.keys() | existing.keys()
    return sorted(name for name in names if expected.get(name) != existing.get(name))


def write_all(folder: str | Path) -> list[Path]:
    """Write the card of every released model.

    Args:
        folder: Where the cards go, ``NAME.md``; see :func:`outdated` for what else it holds.

    Returns:
        The files that were written.
    """
    written = []
    for name, card in _released_cards(Path(folder)).items():
        path = Path(folder) / name
        write_text(path, card)
        written.append(path)
    return written


def _released_cards(folder: Path) -> dict[str, str]:
    """Map file name to card, for the bundled models and those whose files lie in the folder."""
    directories = [bundled.FOLDER / name for name in bundled.names()]
    directories += [config.parent for config in folder.glob("*/config.json")]
    cards = {}
    for directory in directories:
        cards[f"{directory.name}.md"] = render(directory)
    return cards
