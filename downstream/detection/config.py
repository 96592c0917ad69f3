"""What detectron2's config learns from us. Nothing here imports detectron2 before it is asked for."""

import difflib
import importlib
import warnings
from pathlib import Path
from typing import Any

import zoo
from zoo import SettingsError
from zoo.models.model_dir import read_config

CONFIGS = Path(__file__).parent / "configs"
INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'"


def require_detectron2() -> None:
    """
    Raises:
        SettingsError: that says how to install detectron2, where it cannot be imported.
    """
    try:
        with warnings.catch_warnings():  # of its own code
            warnings.simplefilter("ignore")
            importlib.import_module("detectron2.modeling")
    except ImportError as error:
        raise SettingsError(
            f"detection needs detectron2, which cannot be imported ({error}). It is on no package index; with a "
            f"compiler and torch installed: {INSTALL}"
        ) from error


def add_npid_config(cfg: Any) -> None:
    """Add our keys to a fresh detectron2 config, our backbones and heads to its registries, and let its checkpointer
    read zoo models. No existing default changes, so configs of others mean what they meant.

    The keys, under ``MODEL.NPID``:

    * ``ARCH``: a registered backbone of the zoo; ``STEM``: its stem, the family's own if empty.
    * ``EXTRA_NORM``: a norm layer after res5 in the RoI head (MoCo's recipe for backbones trained with live norms).

    Raises:
        SettingsError: if detectron2 cannot be imported.
    """
    require_detectron2()
    from detectron2.config import CfgNode

    from downstream.detection import checkpoint, network  # noqa: F401  registers the backbones and the head

    cfg.MODEL.NPID = CfgNode({"ARCH": "resnet50", "STEM": "", "EXTRA_NORM": False})
    checkpoint.install()


def pixel_statistics(spec: zoo.InputSpec) -> tuple[list[float], list[float]]:
    """Mean and std of the three RGB channels on detectron2's 0–255 scale."""
    return [255 * v for v in spec.mean], [255 * v for v in spec.std]


def adopt(cfg: Any, model: str | Path) -> None:
    """Set everything in a detectron2 config that a zoo model decides: backbone, stem, pixel statistics, channel order.

    Args:
        cfg: not frozen, with our keys.
        model: a model directory or a Hub repository.

    Raises:
        ModelError: if there is no such model.
    """
    folder = zoo.locate(model)
    config = read_config(folder)
    cfg.MODEL.WEIGHTS = str(folder)
    cfg.MODEL.NPID.ARCH, cfg.MODEL.NPID.STEM = config["arch"], config["npid"]["stem"]
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = pixel_statistics(
        zoo.InputSpec(**config["npid"]["input"])
    )
    cfg.INPUT.FORMAT = "RGB"


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package, without those that are only bases of others."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith("base_"))


def config_file(name: str) -> Path:
    """The path of a config: a file, or the name of a shipped one.

    Raises:
        SettingsError: if there is none; the message lists the shipped ones.
    """
    for path in (Path(name), CONFIGS / f"{name.removesuffix('.yaml')}.yaml"):
        if path.is_file():
            return path
    known = shipped_configs()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise SettingsError(f"no config file {name!r}{hint}; there are: {', '.join(known)}")
