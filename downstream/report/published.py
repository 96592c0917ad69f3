"""Numbers that others published, in percent, to stand beside one's own. None is of our making."""

from dataclasses import dataclass
from pathlib import PurePosixPath

_WU = "Wu et al. 2018"
_QUOTED = "as quoted by later papers"
_ALIASES = {
    "cifar10": {"cifar10"},
    "imagenet": {"imagenet", "imagenet1k", "ilsvrc2012", "ilsvrc"},
    "places205": {"places205"},
    "voc0712": {"voc", "vocdevkit", "voc0712"},
}


@dataclass(frozen=True)
class Published:
    """One row: ``values`` by name, as ``top1`` or a layer, in percent."""

    task: str
    data: str
    what: str
    values: dict[str, float]
    source: str


def _table1(task: str, values: tuple[float, ...]) -> list[Published]:
    heads = (
        "parametric softmax",
        "non-parametric softmax",
        *(f"NCE, m={m}" for m in (1, 10, 512, 4096)),
    )
    source = f"{_WU}, Table 1, {_QUOTED}"
    return [
        Published(task, "cifar10", head, {"top1": v}, source)
        for head, v in zip(heads, values, strict=True)
    ]


_R18, _R50 = "ResNet-18", "ResNet-50"
_LAYERS = ("conv1", "res2", "res3", "res4", "res5")
PUBLISHED = (
    *_table1("knn", (63.0, 80.8, 42.5, 63.4, 78.4, 80.4)),
    *_table1("linear", (60.3, 75.4, 44.3, 60.2, 64.3, 70.2)),
    Published(
        "knn",
        "cifar10",
        f"MoCo, asymmetric loss, {_R18}, 200 epochs",
        {"top1": 82.6},
        "MoCo CIFAR-10 notebook",
    ),
    Published(
        "knn",
        "cifar10",
        f"MoCo, symmetric loss, {_R18}, 200 epochs",
        {"top1": 85.3},
        "MoCo CIFAR-10 notebook",
    ),
    Published("knn", "cifar10", f"MoCo, {_R18}, 200 epochs", {"top1": 83.8}, "lightly benchmarks"),
    Published(
        "knn", "cifar10", f"SimCLR, {_R18}, 200 epochs", {"top1": 84.7}, "lightly benchmarks"
    ),
    Published(
        "knn", "imagenet", f"NPID, {_R18}", {"top1": 41.0}, f"{_WU}, Table 2; authors' repository"
    ),
    Published(
        "knn", "imagenet", f"NPID, {_R50}, released weights", {"top1": 46.8}, "authors' repository"
    ),
    Published("linear", "imagenet", f"NPID, {_R50}", {"res5": 54.0}, f"{_WU}, Table 2, {_QUOTED}"),
    Published(
        "linear",
        "imagenet",
        f"NPID, 65 536 negatives, {_R50}",
        {"res5": 58.5},
        "authors' repository",
    ),
    Published("linear", "imagenet", f"NPID, {_R50}", {"res5": 52.73}, "VISSL model zoo"),
    Published("linear", "imagenet", f"NPID++, {_R50}", {"res5": 56.68}, "VISSL model zoo"),
    Published("linear", "imagenet", f"NPID, {_R50}", {"res5": 58.3}, "mmselfsup model zoo"),
    Published("linear", "imagenet", f"NPID, {_R50}", {"res5": 59.5}, "PyContrast model zoo"),
    Published(
        "linear",
        "places205",
        f"NPID, {_R50}",
        dict(zip(_LAYERS, (20.53, 34.03, 40.48, 47.13, 47.73), strict=True)),
        "OpenSelfSup model zoo",
    ),
    Published(
        "finetune",
        "imagenet",
        f"NPID, {_R50}, top-5",
        {"1%": 39.2, "10%": 77.4},
        f"{_WU}, {_QUOTED}",
    ),
    Published(
        "finetune",
        "imagenet",
        f"NPID, {_R50}, top-5",
        {"1%": 54.37, "10%": 81.39},
        "OpenSelfSup model zoo",
    ),
    *(
        Published(
            "detect", "voc0712", f"{what}, {_R50}-C4", {"AP50": a, **more}, "OpenSelfSup model zoo"
        )
        for what, a, more in (
            ("NPID", 80.03, {"AP": 54.11, "AP75": 59.50}),
            ("random weights", 59.02, {}),
            ("supervised", 81.58, {}),
        )
    ),
)


def data_set(data: str) -> str | None:
    """Which known data set a user's DATA is, by its last part; None for any other."""
    name = "".join(c for c in PurePosixPath(data).name.lower() if c.isalnum())
    return next((known for known, names in _ALIASES.items() if name in names), None)


def beside(task: str, data: str) -> list[Published]:
    """The published rows of a task on the data set that ``data`` is."""
    known = data_set(data)
    return [row for row in PUBLISHED if row.task == task and row.data == known]
