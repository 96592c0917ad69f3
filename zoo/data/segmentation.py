"""Images with a class for every pixel, in the layout of PASCAL VOC's segmentation sets.

``JPEGImages/``, ``SegmentationClass/*.png`` and ``ImageSets/Segmentation/*.txt`` (Everingham et al.
2010, http://host.robots.ox.ac.uk/pascal/VOC/). A mask is a palette or grey PNG of the image's size,
its pixel values are class numbers and 255 is ignored. The names of the classes are the lines of
``classes.txt``; without that file they are VOC's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.data.image_files import open_image, open_regular
from zoo.data.images import SUFFIXES, LazyImage
from zoo.data.splits import hold_out
from zoo.errors import DataError

IGNORED = 255
"""The value of pixels that belong to no class."""
VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()
_SPLITS = (("trainval", "test"), ("train", "test"), ("train", "val"))  # the best first
_MAX_SHOWN = 20  # faults that a message lists


@dataclass(frozen=True, kw_only=True)
class SegmentationSplit:
    """The images of a split and their masks.

    Attributes:
        name: of the list in ``ImageSets/Segmentation``.
        classes: names, by class number.
        images: N files.
        masks: N files.
    """

    name: str
    classes: Sequence[str]
    images: Sequence[Path]
    masks: Sequence[Path]

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Image.Image:
        """Read an image as upright 8-bit RGB.

        Raises:
            DataError: naming the file, if it cannot be read.
        """
        return LazyImage(self.images[index]).rgb()

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Read the mask of an image.

        Returns:
            H×W class numbers, 255 where a pixel is ignored.

        Raises:
            DataError: naming the file, if it cannot be read or is not a mask of these classes.
        """
        path = self.masks[index]
        try:
            with open_regular(path) as file, open_image(file) as image:
                mode = image.mode
                values = np.array(image) if mode in ("P", "L") else None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: cannot be read as a mask ({error})") from error
        if values is None:
            raise DataError(
                f"{path}: has the mode {mode}; a mask is a palette or grey image whose values are "
                "class numbers"
            )
        counts = np.bincount(values.ravel(), minlength=256)
        unknown = np.flatnonzero(counts[len(self.classes) : IGNORED]) + len(self.classes)
        if len(unknown):
            numbers = ", ".join(map(str, unknown[:5].tolist()))
            raise DataError(
                f"{path}: has the class {numbers}; there are {len(self.classes)} classes, 0 to "
                f"{len(self.classes) - 1}, and {IGNORED} is ignored"
            )
        return values

    def check(self) -> None:
        """Read every mask, and the size of every image.

        Raises:
            DataError: listing every file that cannot be used.
        """
        faults = []
        for index in range(len(self)):
            try:
                width, height = LazyImage(self.images[index]).size
                mask = self.mask(index)
            except DataError as error:
                faults.append(str(error))
                continue
            if mask.shape != (height, width):
                faults.append(
                    f"{self.masks[index]}: is {mask.shape[1]}×{mask.shape[0]} pixels, but "
                    f"{self.images[index].name} is {width}×{height}"
                )
        _raise_faults(f"the {self.name} split", faults)


def open_segmentation(
    data: str | Path,
    *,
    train: str = "train",
    test: str = "test",
    holdout: float | None = None,
    seed: int = 0,
) -> tuple[SegmentationSplit, SegmentationSplit]:
    """Open the training and the test split of a folder; no image is read yet.

    Args:
        data: the folder with ``JPEGImages/``, or one above it, as ``VOCdevkit``.
        train: the list to learn from.
        test: the list to score on.
        holdout: score on this share (0–1) of the training list in its place.
        seed: of the images that are held out.

    Returns:
        The lists that were named; unless there are other names than ``train`` and ``test``, the
        first that there are of trainval and test, train and test, train and val.

    Raises:
        DataError: if there is no such folder, or it lacks splits or files that they list.
    """
    root = _find_root(Path(data))
    lists = root / "ImageSets" / "Segmentation"
    train, test = _choose_lists(lists, train, None if holdout is not None else test)
    images = {}
    for path in sorted((root / "JPEGImages").glob("*")):
        if path.suffix.lower() in SUFFIXES:
            images[path.stem] = path
    classes = _read_classes(root)
    train_split = _open_split(root, train, classes, images)
    if holdout is not None:
        return _hold_out(train_split, holdout, seed)
    test_split = _open_split(root, test, classes, images)
    both = set(train_split.images) & set(test_split.images)
    if both:
        names = ", ".join(sorted(path.stem for path in both)[:5])
        raise DataError(f"{lists}: {train}.txt and {test}.txt share {len(both)} images: {names}")
    return train_split, test_split


def _choose_lists(lists: Path, train: str, test: str | None) -> tuple[str, str]:
    """The names of the lists to learn from and to score on.

    Args:
        lists: their folder.
        train: as it was asked for.
        test: likewise; None where none is needed, and the training list's name stands for it.
    """
    candidates = [(train, train if test is None else test)]
    if test is None and train == "train":
        candidates.insert(0, ("trainval", "trainval"))
    elif (train, test) == ("train", "test"):
        candidates = list(_SPLITS)
    for pair in candidates:
        if all((lists / f"{name}.txt").is_file() for name in pair):
            return pair
    existing = ", ".join(sorted(path.name for path in lists.glob("*.txt"))) or "nothing"
    expected = "train.txt and test.txt (or trainval.txt, val.txt)"
    if (train, test) != ("train", "test"):
        expected = " and ".join(sorted({f"{name}.txt" for name in candidates[-1]}))
    raise DataError(f"{lists}: expected {expected}, found {existing}")


def _hold_out(
    split: SegmentationSplit, share: float, seed: int
) -> tuple[SegmentationSplit, SegmentationSplit]:
    """Split images at random; an image has many classes, so that there are no strata.

    Raises:
        DataError: if there is one image only.
    """
    kept, held = hold_out(np.zeros(len(split), np.int64), share, seed)
    if not len(held):
        raise DataError(f"{split.images[0]}: the only image; one more is needed to hold one out")
    parts = []
    for indices in (kept, held):
        parts.append(
            SegmentationSplit(
                name=split.name,
                classes=split.classes,
                images=[split.images[index] for index in indices],
                masks=[split.masks[index] for index in indices],
            )
        )
    return parts[0], parts[1]


def _find_root(data: Path) -> Path:
    """The one folder with masks among a folder, those in it, and those in its VOCdevkit."""
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    roots = []
    for folder in [data, *sorted(data.glob("*")), *sorted(data.glob("VOCdevkit/*"))]:
        if (folder / "SegmentationClass").is_dir():
            roots.append(folder)
    if len(roots) == 1 or data in roots:
        return roots[0]
    if roots:
        names = ", ".join(map(str, roots))
        raise DataError(f"{data}: holds several data sets; give one of them: {names}")
    raise DataError(
        f"{data}: not in VOC's segmentation layout (JPEGImages/, SegmentationClass/, "
        "ImageSets/Segmentation/)"
    )


def _read_lines(path: Path) -> list[str]:
    """The lines of a list that are not empty, each of them once.

    Raises:
        DataError: if the file cannot be read, is empty, or has a line twice.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    names: list[str] = []
    for line in lines:
        name = line.strip()
        if name:
            names.append(name)
    if not names:
        raise DataError(f"{path}: is empty; expected one name a line")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: lists {twice} twice; expected every name once")
    return names


def _read_classes(root: Path) -> Sequence[str]:
    path = root / "classes.txt"
    if not path.exists():
        return VOC_CLASSES
    classes = _read_lines(path)
    if not 2 <= len(classes) <= IGNORED:
        raise DataError(f"{path}: names {len(classes)} classes; expected 2 to {IGNORED}")
    return classes


def _open_split(
    root: Path, name: str, classes: Sequence[str], images: dict[str, Path]
) -> SegmentationSplit:
    faults = []
    image_files = []
    mask_files = []
    for key in _read_lines(root / "ImageSets" / "Segmentation" / f"{name}.txt"):
        mask = root / "SegmentationClass" / f"{key}.png"
        if key not in images:
            faults.append(f"{root / 'JPEGImages' / key}.jpg: no such image")
        elif not mask.is_file():
            faults.append(f"{mask}: no such mask")
        else:
            image_files.append(images[key])
            mask_files.append(mask)
    _raise_faults(f"{root}: the {name} split", faults)
    return SegmentationSplit(name=name, classes=classes, images=image_files, masks=mask_files)


def _raise_faults(where: str, faults: list[str]) -> None:
    if not faults:
        return
    shown = faults[:_MAX_SHOWN]
    if len(faults) > len(shown):
        shown.append(f"… and {len(faults) - len(shown)} more")
    lines = "\n  ".join(shown)
    raise DataError(f"{where} has {len(faults)} faults; correct or remove them:\n  {lines}")
