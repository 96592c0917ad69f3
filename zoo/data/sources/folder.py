"""Folders of image files: with classes (ImageFolder) or without."""

from pathlib import Path

import numpy as np

from zoo.data.images import SUFFIXES, LazyImage
from zoo.data.source import SOURCES, Source
from zoo.data.sources._files import file_bytes, file_size, file_state
from zoo.data.sources._left_out import (
    is_image,
    note_on_folders,
    notes_on,
    printable,
    suffix_of,
    walk,
)
from zoo.data.split_names import WORDS, split_folders, stand_ins
from zoo.errors import DataError, SplitError


def _subfolders(folder: Path) -> set[str]:
    names = set()
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            names.add(printable(path.name))
    return names


@SOURCES.register("folder")
class Folder(Source):
    """``train/`` and ``val/`` or ``test/``, each with a folder per class; or any folder of images.

    The second has a class per folder where every image lies in one, and no labels otherwise. An
    image's identity is its POSIX path relative to the split's folder, and the order is that of the
    paths. Images beside the class folders of a split have no label.

    A folder called ``train`` that holds images and no folders, among other folders of images, is a
    class and no split.

    Attributes:
        root: the split's folder.
        paths: of the images, relative to it.
    """

    fallback = True  # other kinds are folders too

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is a folder."""
        return Path(data).is_dir()

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        whole = Path(data)
        try:
            folders = _splits_of(whole)
            split_folder = self._split_folder(folders)
            self.root = split_folder or whole
            self.paths = self._image_paths()
            if split_folder is not None:
                self._note_other_folders(whole, folders)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
        if split_folder is None:
            self._take_folders()
        elif any("/" in path for path in self.paths):
            self._take_classes(folders.get("train", self.root))
        else:
            self.label_problem = f"{self.root} holds images and no class folders"

    def _split_folder(self, folders: dict[str, Path]) -> Path | None:
        """The folder of the split; None where there are no splits, and all is for training."""
        for name in stand_ins(self.split):
            if name in folders:
                return folders[name]
        own = Path(self.data) / self.split
        if self.split not in WORDS and own.is_dir():
            return own
        if self.split == "train" and not folders:
            return None
        names: list[str] = []
        for name in stand_ins(self.split):
            names += WORDS.get(name, (name,))
        expected = " or ".join(f"{name}/" for name in names)
        existing = ", ".join(f"{path.name}/" for path in folders.values()) or "no folder of a split"
        raise SplitError(
            f"{self.data}: no {self.split} split; expected a folder {expected} in it, "
            f"found {existing}"
        )

    def _image_paths(self) -> list[str]:
        """The images below the root; notes on what else looks like some."""
        images: list[str] = []
        others: list[str] = []
        for path in walk(self.root):
            (images if is_image(path) else others).append(path)
        notes = notes_on(self.root, sorted(others))
        if not images:
            found = "".join(f"; {note}" for note in notes) or _found_instead(others)
            raise DataError(
                f"{self.root}: no images in it (looked for {', '.join(sorted(SUFFIXES))}){found}"
            )
        self.notes += notes
        return sorted(images)

    def _note_other_folders(self, whole: Path, folders: dict[str, Path]) -> None:
        """Note images that lie in no split."""
        taken = {path.name for path in folders.values()} | {self.root.name}
        stray = []
        for entry in sorted(whole.iterdir()):
            if entry.name in taken:
                continue
            below = [f"{entry.name}/{path}" for path in walk(entry)] if entry.is_dir() else None
            for path in [entry.name] if below is None else below:
                if is_image(path):
                    stray.append(path)
        if stray:
            named = ", ".join(f"{name}/" for name in sorted(taken))
            reason = f"they lie in no split (splits are {named})"
            self.notes.append(note_on_folders(stray, reason))

    def _take_folders(self) -> None:
        """Set classes and labels from the folders' names of a folder without splits."""
        loose = [path for path in self.paths if "/" not in path]
        if loose:
            self.label_problem = f"{printable(loose[0])} lies in no class folder"
            return
        folder_of_image = [printable(path.split("/", 1)[0]) for path in self.paths]
        classes = sorted(set(folder_of_image))
        number = {name: i for i, name in enumerate(classes)}
        self.set_labels(np.array([number[name] for name in folder_of_image]), classes)

    def _take_classes(self, train: Path) -> None:
        """Set classes and labels from the folders' names; the training split's are the classes."""
        classes = sorted(_subfolders(train))
        loose = [path for path in self.paths if "/" not in path]
        class_of_image = [printable(path.split("/", 1)[0]) for path in self.paths if "/" in path]
        strange = sorted(set(class_of_image) - set(classes))
        if strange:
            raise DataError(
                f"{self.root}: classes {', '.join(strange)} are not among those of {train}"
            )
        empty = sorted((_subfolders(self.root) & set(classes)) - set(class_of_image))
        if empty:
            raise DataError(
                f"{self.root}: class folders without an image: {', '.join(empty)}; "
                "fill or remove them"
            )
        number = {name: i for i, name in enumerate(classes)}
        labels = []
        for path in self.paths:
            folder, slash, _ = path.partition("/")
            labels.append(number[printable(folder)] if slash else -1)
        problem = (
            f"{len(loose)} lie beside the class folders, as {printable(loose[0])}" if loose else ""
        )
        self.set_labels(np.array(labels), classes, problem)

    def __len__(self) -> int:
        return len(self.paths)

    def key(self, index: int) -> str:
        """The path relative to the split's folder."""
        return printable(self.paths[index])

    def open(self, index: int) -> LazyImage:
        """Open the file."""
        path = self.root / self.paths[index]
        return LazyImage(path, printable(str(path)), self.value_range)

    def fingerprint(self, index: int) -> bytes:
        """The size of the file; -1 where it is absent."""
        return str(file_size(self.root / self.paths[index])).encode()

    def local_fingerprint(self, index: int) -> bytes:
        """Size and times of the file."""
        return file_state(self.root / self.paths[index]).encode()

    def encoded(self, index: int) -> bytes | None:
        """The file's bytes."""
        return file_bytes(self.root / self.paths[index])

    def manifest(self) -> str:
        """Paths and sizes."""
        lines = []
        for path in self.paths:
            lines.append(f"{printable(path)} {file_size(self.root / path)}")
        return "\n".join(lines)


def _splits_of(whole: Path) -> dict[str, Path]:
    """The folders of the splits; none where the only one is a class among others.

    That is one which holds images but no folders of them, beside other folders that hold some.
    """
    folders = split_folders(whole)
    if len(folders) != 1:
        return folders
    [only] = folders.values()
    if any("/" in path for path in walk(only) if is_image(path)):
        return folders
    for path in walk(whole):
        folder, slash, _ = path.partition("/")
        if slash and folder != only.name and is_image(path):
            return {}
    return folders


def _found_instead(others: list[str]) -> str:
    """What kinds of files there are, for a message."""
    endings = sorted({suffix_of(path) or "none" for path in others})
    if not endings:
        return ""
    return f"; found files of the endings {', '.join(endings[:6])}"
