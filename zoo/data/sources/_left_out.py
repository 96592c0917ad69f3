"""What a folder holds beside the images that are used."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from zoo.data.image_files import UnfitImageError, open_regular
from zoo.data.image_suffixes import SUFFIXES, unread_suffix_hint
from zoo.errors import DataError

# the first bytes of common kinds of images, for files without a suffix
_MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
)
_MAX_DEPTH = 100  # folders within one another
_MAX_LINKED = 100_000  # folders reached through links
_LISTED = 4  # names in a line


def printable(path: str) -> str:
    r"""A path as text that can be written anywhere: bytes that are no UTF-8 as ``\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def suffix_of(name: str) -> str:
    """The last suffix of a file's name, in lower case; empty where it has none."""
    return os.path.splitext(name)[1].lower()


def walk(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below, relative to the folder, hidden ones too.

    A symlink that leads back up is not followed.

    Raises:
        DataError: if folders are nested too deep, or links to folders make too many paths: n of
            them, each to the next folder, can make 2ⁿ.
    """
    return _Walk(folder).below(folder, frozenset(), is_linked=False)


class _Walk:
    """One walk, and how many folders it may still enter through links."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._linked_left = _MAX_LINKED

    def below(self, folder: Path, above: frozenset[str], *, is_linked: bool) -> Iterator[str]:
        """Yield the paths of all files below a folder, relative to it."""
        above = above | {os.path.realpath(folder)}
        if len(above) > _MAX_DEPTH:
            raise DataError(f"{self._root}: holds folders nested deeper than {_MAX_DEPTH}")
        with os.scandir(folder) as entries:
            listed = list(entries)
        for entry in listed:
            if not entry.is_dir():
                yield entry.name
                continue
            if os.path.realpath(entry.path) in above:
                continue
            entry_is_linked = is_linked or entry.is_symlink()
            self._linked_left -= entry_is_linked
            if self._linked_left < 0:
                raise DataError(
                    f"{self._root}: links to folders lead to more than {_MAX_LINKED:,} folders; "
                    "remove links that lead to the same ones"
                )
            below = self.below(Path(entry.path), above, is_linked=entry_is_linked)
            for path in below:
                yield f"{entry.name}/{path}"


def is_hidden(path: str) -> bool:
    """Whether a part of the path begins with a dot."""
    return path.startswith(".") or "/." in path


def is_image(path: str) -> bool:
    """Whether the file's name is that of an image that can be read, and not hidden."""
    return suffix_of(path) in SUFFIXES and not is_hidden(path)


def notes_on(root: Path, others: list[str]) -> list[str]:
    """Lines on files that are images and yet none that are used: hidden, or of another kind.

    Args:
        root: the folder.
        others: paths in it that are not used.
    """
    hidden = []
    unread: Counter[str] = Counter()
    nameless = []
    for path in others:
        suffix = suffix_of(path)
        if suffix in SUFFIXES:
            hidden.append(path)
        elif unread_suffix_hint(suffix) is not None:
            unread[suffix] += 1
        elif not suffix and not is_hidden(path) and _looks_like_an_image(root / path):
            nameless.append(path)
    notes = []
    if hidden:
        notes.append(f"{_images(hidden)} left out: names that begin with a dot are hidden")
    for suffix, count in sorted(unread.items()):
        verb = "image is" if count == 1 else "images are"
        notes.append(f"{count} {suffix} {verb} left out: {unread_suffix_hint(suffix)}")
    if nameless:
        ending = "give the name an ending such as .jpg"
        notes.append(f"{_images(nameless)} left out: {ending}")
    return notes


def note_on_loose(root: Path, kind: str) -> list[str]:
    """A line on image files that lie beside shards or parquet, which are read in their place.

    Args:
        root: the data's folder.
        kind: what is read.
    """
    loose = sorted(path for path in walk(root) if is_image(path))
    if not loose:
        return []
    return [f"{_images(loose)} left out: the {kind} in that folder are read in their place"]


def note_on_folders(images: list[str], reason: str) -> str:
    """A line on images that are left out, with the folders in which they lie."""
    folders: Counter[str] = Counter()
    for path in images:
        folder, slash, _ = path.partition("/")
        folders[folder + slash if slash else "beside them"] += 1
    listed = [f"{count} in {printable(name)}" for name, count in folders.most_common(_LISTED)]
    rest = len(folders) - _LISTED
    if rest > 0:
        listed.append(f"others in {rest} more folders")
    count = f"{len(images)} image is" if len(images) == 1 else f"{len(images)} images are"
    return f"{count} left out ({', '.join(listed)}): {reason}"


def _images(paths: list[str]) -> str:
    listed = ", ".join(printable(path) for path in paths[:_LISTED])
    more = ", …" if len(paths) > _LISTED else ""
    if len(paths) == 1:
        return f"1 image ({listed}) is"
    return f"{len(paths)} images ({listed}{more}) are"


def _looks_like_an_image(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(8).startswith(_MAGIC)
    except (OSError, UnfitImageError):
        return False
