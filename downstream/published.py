"""Numbers that others published, in per cent, to stand beside one's own; none is from here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from downstream.figures import Series

_WU = "Wu et al. 2018"
_QUOTED = "as quoted by later papers"
_TABLE_1 = f"{_WU}, Table 1, {_QUOTED}"
_R18 = "ResNet-18"
_R50 = "ResNet-50"
_ALIASES = {
    "cifar10": {"cifar10"},
    "imagenet": {"imagenet", "imagenet1k", "ilsvrc2012", "ilsvrc"},
    "places205": {"places205"},
    "voc0712": {"voc", "vocdevkit", "voc0712"},
}


@dataclass(frozen=True)
class Published:
    """One published row.

    Attributes:
        task: name of the task.
        data: the data set, one of those that :func:`known_data_set` gives.
        what: method, network and what else matters.
        values: per cent by name, as ``top1`` or a layer.
        source: who published it, and where.
    """

    task: str
    data: str
    what: str
    values: dict[str, float]
    source: str

    @property
    def label(self) -> str:
        """What a legend calls the row."""
        return f"{self.what} ({self.source})"


PUBLISHED = (
    Published("knn", "cifar10", "parametric softmax", {"top1": 63.0}, _TABLE_1),
    Published("knn", "cifar10", "non-parametric softmax", {"top1": 80.8}, _TABLE_1),
    Published("knn", "cifar10", "NCE, m=1", {"top1": 42.5}, _TABLE_1),
    Published("knn", "cifar10", "NCE, m=10", {"top1": 63.4}, _TABLE_1),
    Published("knn", "cifar10", "NCE, m=512", {"top1": 78.4}, _TABLE_1),
    Published("knn", "cifar10", "NCE, m=4096", {"top1": 80.4}, _TABLE_1),
    Published("linear", "cifar10", "parametric softmax", {"top1": 60.3}, _TABLE_1),
    Published("linear", "cifar10", "non-parametric softmax", {"top1": 75.4}, _TABLE_1),
    Published("linear", "cifar10", "NCE, m=1", {"top1": 44.3}, _TABLE_1),
    Published("linear", "cifar10", "NCE, m=10", {"top1": 60.2}, _TABLE_1),
    Published("linear", "cifar10", "NCE, m=512", {"top1": 64.3}, _TABLE_1),
    Published("linear", "cifar10", "NCE, m=4096", {"top1": 70.2}, _TABLE_1),
    Published(
        task="knn",
        data="cifar10",
        what=f"MoCo, asymmetric loss, {_R18}, 200 epochs",
        values={"top1": 82.6},
        source="MoCo CIFAR-10 notebook",
    ),
    Published(
        task="knn",
        data="cifar10",
        what=f"MoCo, symmetric loss, {_R18}, 200 epochs",
        values={"top1": 85.3},
        source="MoCo CIFAR-10 notebook",
    ),
    Published(
        task="knn",
        data="cifar10",
        what=f"MoCo, {_R18}, 200 epochs",
        values={"top1": 83.8},
        source="lightly benchmarks",
    ),
    Published(
        task="knn",
        data="cifar10",
        what=f"SimCLR, {_R18}, 200 epochs",
        values={"top1": 84.7},
        source="lightly benchmarks",
    ),
    Published(
        task="knn",
        data="imagenet",
        what=f"NPID, {_R18}",
        values={"top1": 41.0},
        source=f"{_WU}, Table 2; authors' repository",
    ),
    Published(
        task="knn",
        data="imagenet",
        what=f"NPID, {_R50}, released weights",
        values={"top1": 46.8},
        source="authors' repository",
    ),
    Published(
        task="linear",
        data="imagenet",
        what=f"NPID, {_R50}",
        values={"res5": 54.0},
        source=f"{_WU}, Table 2, {_QUOTED}",
    ),
    Published(
        task="linear",
        data="imagenet",
        what=f"NPID, 65 536 negatives, {_R50}",
        values={"res5": 58.5},
        source="authors' repository",
    ),
    Published("linear", "imagenet", f"NPID, {_R50}", {"res5": 52.73}, "VISSL model zoo"),
    Published("linear", "imagenet", f"NPID++, {_R50}", {"res5": 56.68}, "VISSL model zoo"),
    Published("linear", "imagenet", f"NPID, {_R50}", {"res5": 58.3}, "mmselfsup model zoo"),
    Published("linear", "imagenet", f"NPID, {_R50}", {"res5": 59.5}, "PyContrast model zoo"),
    Published(
        task="linear",
        data="places205",
        what=f"NPID, {_R50}",
        values={"conv1": 20.53, "res2": 34.03, "res3": 40.48, "res4": 47.13, "res5": 47.73},
        source="OpenSelfSup model zoo",
    ),
    Published(
        task="finetune",
        data="imagenet",
        what=f"NPID, {_R50}, top-5",
        values={"1%": 39.2, "10%": 77.4},
        source=f"{_WU}, {_QUOTED}",
    ),
    Published(
        task="finetune",
        data="imagenet",
        what=f"NPID, {_R50}, top-5",
        values={"1%": 54.37, "10%": 81.39},
        source="OpenSelfSup model zoo",
    ),
    Published(
        task="detect",
        data="voc0712",
        what=f"NPID, {_R50}-C4",
        values={"AP50": 80.03, "AP": 54.11, "AP75": 59.50},
        source="OpenSelfSup model zoo",
    ),
    Published(
        task="detect",
        data="voc0712",
        what=f"random weights, {_R50}-C4",
        values={"AP50": 59.02},
        source="OpenSelfSup model zoo",
    ),
    Published(
        task="detect",
        data="voc0712",
        what=f"supervised, {_R50}-C4",
        values={"AP50": 81.58},
        source="OpenSelfSup model zoo",
    ),
)


def known_data_set(data: str) -> str | None:
    """Name the known data set that a user's DATA is, by its last part; None for any other.

    Example:
        >>> known_data_set("/data/CIFAR-10")
        'cifar10'
    """
    letters = [letter for letter in PurePosixPath(data).name.lower() if letter.isalnum()]
    name = "".join(letters)
    for known, aliases in _ALIASES.items():
        if name in aliases:
            return known
    return None


def published_rows(task: str, data: str) -> list[Published]:
    """List the published rows of a task on the data set that ``data`` is.

    Example:
        >>> published_rows("knn", "cifar10")[1].values
        {'top1': 80.8}
    """
    known = known_data_set(data)
    return [row for row in PUBLISHED if row.task == task and row.data == known]


def published_series(row: Published, positions: Mapping[str, float]) -> Series:
    """Draw a row as a dashed line.

    Args:
        row: what to draw.
        positions: where each name of the row's values lies on the x axis; other values are left
            out.
    """
    points = []
    for name, position in positions.items():
        if name in row.values:
            points.append((position, row.values[name]))
    return Series(name=row.label, points=points, dashed=True)
