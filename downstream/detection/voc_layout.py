"""Where annotations, images, splits and classes lie in a folder of VOC's XML.

VOC's own folders, and what LabelImg, labelme, CVAT and Roboflow write: XML files beside the images
or in a folder of their own, with lists of images, with one folder a split, or without splits.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zoo.data.images import SUFFIXES
from zoo.errors import DataError

ALL = "all"
"""Name of the split of a folder that has none."""
SPLIT_FOLDERS = ("train", "trainval", "val", "valid", "validation", "test")
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "img", "imgs")
_LABEL_LISTS = (
    "labelmap.txt",
    "class_names.txt",
    "classes.txt",
    "labels.txt",
    "predefined_classes.txt",
    "data/predefined_classes.txt",
)
_NO_CLASSES = {"__ignore__", "_background_", "__background__", "background"}
_PEEK = 4096  # bytes in which an annotation's root element must begin


@dataclass(frozen=True)
class VocFolder:
    """One folder of annotations and images.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def lists(self) -> Path:
        """The folder of VOC's lists of images."""
        return self.root / "ImageSets" / "Main"

    @cached_property
    def annotation_folder(self) -> Path:
        """The folder that image ids are relative to."""
        for name in ("Annotations", "annotations"):
            folder = self.root / name
            if folder.is_dir() and any(folder.rglob("*.xml")):
                return folder
        return self.root

    @cached_property
    def ids(self) -> list[str]:
        """Every image with an annotation: its path without the suffix, sorted."""
        ids = []
        for path in self.annotation_folder.rglob("*.xml"):
            if self.annotation_folder != self.root or _is_annotation(path):
                ids.append(path.relative_to(self.annotation_folder).with_suffix("").as_posix())
        return sorted(ids)

    @cached_property
    def splits(self) -> dict[str, Path | None]:
        """The splits by name, each with its list of images where there is one."""
        splits: dict[str, Path | None] = {}
        if self.lists.is_dir():
            paths = sorted(self.lists.glob("*.txt"))
            stems = {path.stem for path in paths}
            for path in paths:
                class_name, _, split = path.stem.rpartition("_")
                if not (class_name and split in stems):  # not VOC's cat_train.txt
                    splits[path.stem] = path
            return splits
        for id in self.ids:
            first = id.split("/")[0]
            if "/" in id and first in SPLIT_FOLDERS:
                splits[first] = None
            else:
                return {ALL: None}
        return splits

    def ids_of(self, split: str) -> list[str]:
        """List the images of a split.

        Raises:
            DataError: if its list cannot be read, is empty, or names an image twice.
        """
        if split not in self.splits:
            raise DataError(f"{self.root}: no split {split!r}, there are {', '.join(self.splits)}")
        path = self.splits[split]
        if path is not None:
            return self._listed_ids(path)
        if split == ALL:
            return self.ids
        return [id for id in self.ids if id.startswith(f"{split}/")]

    def _listed_ids(self, path: Path) -> list[str]:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from error
        existing = set(self.ids)
        ids: list[str] = []
        seen = set()
        repeated = set()
        for line in lines:
            id = _listed_id(line, existing)
            if id in seen:
                repeated.add(id)
            if id:
                ids.append(id)
                seen.add(id)
        if repeated:
            names = ", ".join(sorted(repeated)[:5])
            raise DataError(f"{path}: lists {names} twice; expected one image name a line")
        if not ids:
            raise DataError(f"{path}: lists no images; expected one image name a line")
        return ids

    def annotation(self, id: str) -> Path:
        """The XML file of an image, whether or not it exists."""
        return self.annotation_folder / f"{id}.xml"

    def image(self, id: str) -> Path:
        """The image file of an annotation, or where it should be.

        Raises:
            ValueError: if several could be meant.
        """
        for place in self._usual_places(id):
            if place in self._images:
                return _only(self._images[place], id)
        elsewhere = self._unclaimed_images.get(Path(id).name, [])
        if elsewhere:
            return _only(elsewhere, id)
        return self.root / _IMAGE_FOLDERS[0] / f"{id}.jpg"

    @cached_property
    def _images(self) -> dict[Path, list[Path]]:
        """All image files by their paths without suffix."""
        images: dict[Path, list[Path]] = {}
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                images.setdefault(path.with_suffix(""), []).append(path)
        return images

    def _usual_places(self, id: str) -> list[Path]:
        """Where the image of an annotation may lie, without suffix, best first."""
        beside = (self.annotation_folder / id).parent
        stem = Path(id).name
        places = [self.root / name / id for name in _IMAGE_FOLDERS]
        places += [self.root / id, beside / stem]
        places += [beside.parent / name / stem for name in _IMAGE_FOLDERS]
        return places

    @cached_property
    def _unclaimed_images(self) -> dict[str, list[Path]]:
        """Images by their stems that lie in no annotation's usual places.

        Masks and drawings, which have the stems of their images, are left out.
        """
        claimed = set()
        for id in self.ids:
            claimed.update(self._usual_places(id))
        images: dict[str, list[Path]] = {}
        for place, paths in self._images.items():
            folders = place.relative_to(self.root).parts[:-1]
            drawn = [part for part in folders if part.startswith("Segm") or "Visual" in part]
            if not drawn and place not in claimed:
                images.setdefault(place.name, []).extend(paths)
        return images

    @cached_property
    def classes(self) -> list[str] | None:
        """The folder's own list of classes; None where there is none.

        Raises:
            DataError: if it cannot be read.
        """
        for name in _LABEL_LISTS:
            path = self.root / name
            if path.is_file():
                return _read_labels(path)
        return None


def is_voc(root: Path) -> bool:
    """Whether a folder is laid out like VOC."""
    return any((root / "Annotations").rglob("*.xml")) or (root / "ImageSets" / "Main").is_dir()


def holds_annotations(root: Path) -> bool:
    """Whether VOC's XML lies in a folder, or in the folders of its splits."""
    patterns = ["*.xml", "*/*.xml"]
    patterns += [f"{folder}/*/*.xml" for folder in ("annotations", *SPLIT_FOLDERS)]
    for pattern in patterns:
        if any(_is_annotation(path) for path in root.glob(pattern)):
            return True
    return False


def years(root: Path) -> dict[str, Path]:
    """The VOC folders of a devkit by their years; ``root`` may be what the archives unpack to."""
    folders: dict[str, Path] = {}
    for parent in (root, root / "VOCdevkit"):
        for folder in sorted(parent.glob("VOC[0-9][0-9][0-9][0-9]")):
            if is_voc(folder):
                folders.setdefault(folder.name.removeprefix("VOC"), folder)
    return folders


def _is_annotation(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return b"<annotation" in file.read(_PEEK)
    except OSError:
        return False


def _listed_id(line: str, existing: set[str]) -> str:
    """The id on a line: names with spaces may stand in quotes, files may have their suffix."""
    id = line.strip()
    if len(id) > 1 and id[0] == id[-1] == '"':
        id = id[1:-1]
    if id in existing:
        return id
    path = Path(id)
    if path.suffix.lower() in SUFFIXES:
        for shorter in (path.with_suffix("").as_posix(), path.stem):
            if shorter in existing:
                return shorter
    return id


def _only(paths: list[Path], id: str) -> Path:
    if len(paths) > 1:
        names = " and ".join(str(path) for path in paths[:3])
        raise ValueError(f"{names} could both be the image of {id}; remove or rename one")
    return paths[0]


def _read_labels(path: Path) -> list[str]:
    """The names in a list: one a line, as ``name:color:parts:actions`` in CVAT's."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    names = []
    for line in lines:
        name = line.strip()
        if name.startswith("#"):
            continue
        if path.name == "labelmap.txt":
            name = name.split(":")[0].strip()
        if name and name not in _NO_CLASSES and name not in names:
            names.append(name)
    if not names:
        raise DataError(f"{path}: lists no classes; expected one name a line, or no such file")
    return names
