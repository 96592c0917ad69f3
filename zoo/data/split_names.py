"""Which split a file or a folder speaks of, by whole words in any case."""

import re
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import SettingsError

WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def canonical_split(name: str) -> str:
    """The split that a word stands for: ``Training`` is ``train``; other words stay.

    Example:
        >>> canonical_split("Validation"), canonical_split("extra")
        ('val', 'extra')
    """
    word = name.strip().lower()
    for split, words in WORDS.items():
        if word in words:
            return split
    return name.strip()


def split_in_name(name: str) -> str | None:
    """The split that the last split word of a file's name means; None where there is none.

    Example:
        >>> split_in_name("imagenet1k-train-000000.tar"), split_in_name("constraints.tar")
        ('train', None)
    """
    found = None
    for word in re.findall("[a-z]+", name.lower()):
        split = canonical_split(word)
        if split in WORDS:
            found = split
    return found


def has_word(name: str, word: str) -> bool:
    """Whether a word, any but those of :data:`WORDS`, stands whole in a file's name."""
    boundary = "[^A-Za-z0-9]"
    pattern = f"(^|{boundary}){re.escape(word)}({boundary}|$)"
    return re.search(pattern, name, re.IGNORECASE) is not None


def stand_ins(split: str) -> tuple[str, ...]:
    """The splits that answer to a name, the best first: validation stands in for a test split."""
    if split == "test":
        return ("test", "val")
    return (split,)


def split_folders(root: Path) -> dict[str, Path]:
    """The folders called after a split, by split; the first in order of name where two are."""
    folders: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        split = canonical_split(path.name)
        if split in WORDS and path.is_dir():
            folders.setdefault(split, path)
    return folders


def split_files(root: Path, suffix: str) -> list[tuple[str | None, Path]]:
    """Files with a suffix in a folder and in its split folders, in order of name.

    Returns:
        Pairs of the split, from the file's name or else its folder's (None where neither says),
        and the path.
    """
    if not root.is_dir():
        return []
    found: list[tuple[str | None, Path]] = []
    for path in sorted(root.glob(f"*{suffix}")):
        if not path.name.startswith("."):
            found.append((split_in_name(path.name.removesuffix(suffix)), path))
    for split, folder in split_folders(root).items():
        for path in sorted(folder.glob(f"*{suffix}")):
            if not path.name.startswith("."):
                found.append((split, path))
    return found


def choose_files(files: Sequence[tuple[str | None, Path]], split: str) -> list[Path]:
    """The files of a split; files named after no split are all for training, if no others are.

    Args:
        files: as of :func:`split_files`.
        split: of :func:`canonical_split`.
    """
    by_split: dict[str | None, list[Path]] = {}
    for its_split, path in files:
        by_split.setdefault(its_split, []).append(path)
    for name in stand_ins(split):
        if name in by_split:
            return by_split[name]
    unnamed = by_split.get(None, [])
    if split == "train":
        return unnamed
    if split in WORDS:
        return []
    return [path for path in unnamed if has_word(path.name, split)]


def parse_share(text: str) -> float:
    """Read ``20%`` or ``0.2`` as a share.

    Raises:
        SettingsError: unless it lies between 0 and 100 %, both excluded.

    Example:
        >>> parse_share("20%"), parse_share("0.2")
        (0.2, 0.2)
    """
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1 or rest:
        raise SettingsError(f"holdout: expected a share such as 20%, got {text!r}")
    return share
