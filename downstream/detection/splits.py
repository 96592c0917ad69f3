"""The splits of a folder, and which of them a config or a user asks for."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from downstream.detection import coco, voc
from downstream.detection.annotations import DetectionSplit, Faults
from downstream.detection.voc_layout import VocFolder, holds_annotations, is_voc, years
from zoo.errors import DataError

_DETECTRON2_NAME = re.compile(r"(voc|coco)_(\d{4})_([A-Za-z]+)(_\w+)?")
_TEST_NAMES = ("val", "valid", "validation", "test")
_VAL_NAMES = ("val", "valid", "validation")


class FolderSplits(ABC):
    """The splits that a folder has.

    Attributes:
        kind: of its annotations, ``VOC`` or ``COCO``.
        root: the folder.
        names: of its splits.
        example: how detectron2 names such a split.
    """

    kind: str
    example: str
    root: Path
    names: list[str]

    @abstractmethod
    def read(self, name: str, faults: Faults, classes: list[str] | None) -> DetectionSplit:
        """Read a split by its name or one that :meth:`select` gave."""

    @abstractmethod
    def default_pair(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The splits to train and to test on where none are asked for; no test split: hold out.

        Raises:
            DataError: if there are none, or more than one pair could be meant.
        """

    @abstractmethod
    def find(self, year: str, split: str) -> list[str]:
        """The names that a split of a year could have here."""

    def select(self, requested: Sequence[str]) -> tuple[str, ...]:
        """Find the splits that are asked for.

        Args:
            requested: names of splits of the folder, or detectron2's, such as coco_2017_train.

        Raises:
            DataError: listing what there is.
        """
        selected = []
        for name in requested:
            found = [name] if name in self.names else []
            match = _DETECTRON2_NAME.fullmatch(name)
            if not found and match is not None and match[1].upper() == self.kind:
                found = self.find(match[2], match[3] + (match[4] or ""))
            if len(found) != 1 or found[0] in selected:
                raise DataError(self._not_found(name, found, requested))
            selected += found
        return tuple(selected)

    def _not_found(self, name: str, found: list[str], requested: Sequence[str]) -> str:
        candidates = ", ".join(self.names) or "none"
        if found:
            reason = f"{name} could be any of {', '.join(found)}"
            if len(found) == 1:
                reason = f"{name} and another of {', '.join(requested)} would both be {found[0]}"
        else:
            reason = f"no split {name!r}"
        return (
            f"{self.root}: {reason}; the config must name them as {self.example}, found "
            f"{', '.join(requested)}. There are: {candidates}; to take one of these, give "
            f"DATASETS.TRAIN \"('{(self.names or ['train'])[0]}',)\" and DATASETS.TEST likewise"
        )

    def ambiguous(self, names: Sequence[str]) -> DataError:
        """The error where none is asked for and several could be meant."""
        return DataError(
            f"{self.root}: holds {', '.join(names)}; say which to train and to test on with "
            f"DATASETS.TRAIN \"('{names[0]}',)\" and DATASETS.TEST, or with a config that names "
            "them as voc_2007_test or coco_2017_val"
        )


class CocoSplits(FolderSplits):
    """COCO's JSON files."""

    kind = "COCO"
    example = "coco_2017_val"

    def __init__(self, root: Path, files: dict[str, Path]) -> None:
        self.root = root
        self.files = files
        self.names = sorted(files)

    def read(self, name: str, faults: Faults, classes: list[str] | None) -> DetectionSplit:
        """Read a split by its name."""
        split = coco.read(self.root, name, self.files[name], faults, classes)
        if [other for other in self.names if _base(other) == _base(name)] == [name]:
            return replace(split, name=_base(name))
        return split

    def find(self, year: str, split: str) -> list[str]:
        """The file of that year, or else one without a year."""
        base, _, rest = split.partition("_")
        exact = f"{base}{year}" + (f"_{rest}" if rest else "")
        if exact in self.names:
            return [exact]
        alike = _VAL_NAMES if split in _VAL_NAMES else (split,)
        return [name for name in self.names if name in alike]

    def default_pair(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Training and validation, or else test; the same year if there are several."""
        if len(self.names) == 1:
            return (self.names[0],), ()
        trains = [name for name in self.names if _base(name) == "train"]
        if len(trains) != 1:
            raise self.ambiguous(trains or self.names)
        year = trains[0].removeprefix("train")
        for base in _TEST_NAMES:
            tests = [name for name in self.names if _base(name) == base]
            if f"{base}{year}" in tests:
                return (trains[0],), (f"{base}{year}",)
            if len(tests) > 1:
                raise self.ambiguous([*trains, *tests])
            if tests:
                return (trains[0],), (tests[0],)
        raise self.ambiguous(self.names)


def _base(name: str) -> str:
    """The name of a split without its year."""
    return re.sub(r"\d{4}$", "", name)


class VocSplits(FolderSplits):
    """One VOC folder."""

    kind = "VOC"
    example = "voc_2007_test"
    _PAIRS = (("trainval", "test"), *(("train", name) for name in ("test", *_VAL_NAMES)))

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = VocFolder(root)
        self.names = list(self.folder.splits)
        match = re.fullmatch(r"VOC(\d{4})", root.name)
        self.year = match[1] if match else None

    def read(self, name: str, faults: Faults, classes: list[str] | None) -> DetectionSplit:
        """Read a split by its name."""
        split = voc.read(self.root, name, faults, classes)
        return replace(split, eleven_point=self.year == "2007")

    def find(self, year: str, split: str) -> list[str]:
        """The split, where the folder is not of another year; it is then of this one."""
        if self.year not in (None, year) or split not in self.names:
            return []
        self.year = year
        return [split]

    def default_pair(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Training and test, or else validation."""
        pairs = self._PAIRS
        if not self.folder.lists.is_dir():  # folders, as Roboflow writes them
            pairs = (*(("train", name) for name in _VAL_NAMES), *pairs)
        for train, test in pairs:
            if train in self.names and test in self.names:
                return (train,), (test,)
        if len(self.names) == 1:
            return (self.names[0],), ()
        if not self.names:
            raise DataError(
                f"{self.folder.lists}: expected trainval.txt and test.txt (or train.txt and "
                "val.txt), found nothing"
            )
        raise self.ambiguous(self.names)


class DevkitSplits(FolderSplits):
    """Several VOC years; a split is called ``2007 trainval``."""

    kind = "VOC"
    example = "voc_2007_test"

    def __init__(self, root: Path, folders: dict[str, Path]) -> None:
        self.root = root
        self.folders = folders
        self.names = []
        for year, folder in folders.items():
            self.names += [f"{year} {split}" for split in VocFolder(folder).splits]

    def read(self, name: str, faults: Faults, classes: list[str] | None) -> DetectionSplit:
        """Read a split by its name."""
        year, _, split = name.partition(" ")
        return replace(voc.read(self.folders[year], split, faults, classes), name=name)

    def find(self, year: str, split: str) -> list[str]:
        """The split of that year."""
        return [name for name in self.names if name == f"{year} {split}"]

    def default_pair(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of the only year there is."""
        if len(self.folders) > 1:
            raise self.ambiguous(self.names)
        ((year, folder),) = self.folders.items()
        train, test = VocSplits(folder).default_pair()
        return tuple(f"{year} {name}" for name in train), tuple(f"{year} {name}" for name in test)


def find_splits(root: Path) -> FolderSplits:
    """Find the splits of a folder, whatever its format.

    Raises:
        DataError: if it has none that could be read.
    """
    folders = years(root)
    if folders:
        return DevkitSplits(root, folders)
    if is_voc(root):
        return VocSplits(root)
    files = coco.find_files(root)
    if files:
        return CocoSplits(root, files)
    if holds_annotations(root):
        return VocSplits(root)
    raise DataError(
        f"{root}: neither a VOC folder (Annotations/, ImageSets/Main/, JPEGImages/) nor one "
        "with COCO JSON (annotations/instances_train*.json and instances_val*.json, or "
        "train/_annotations.coco.json)"
    )
