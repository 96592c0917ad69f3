"""detectron2's config files: the shipped ones, and what a zoo model decides in them.

Nothing here imports detectron2 or torch before it is needed.
"""

import difflib
import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import SettingsError

if TYPE_CHECKING:
    from zoo import InputSpec

CONFIGS = Path(__file__).parent / "configs"
INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'"


def require_detectron2() -> None:
    """Import detectron2, without the warnings of its own code.

    Raises:
        SettingsError: that says how to install detectron2, where it cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("detectron2.modeling")
    except ImportError as error:
        raise SettingsError(
            f"detection needs detectron2, which cannot be imported ({error}). It is on no package "
            f"index; with a compiler and torch installed: {INSTALL}"
        ) from error


def shipped_configs() -> list[str]:
    """List the configs that come with the package, without those that are only bases of others.

    Example:
        >>> "voc07_c4" in shipped_configs()
        True
    """
    names = [path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith("base_")]
    return sorted(names)


def config_file(name: str) -> Path:
    """Find a config: a file, or a shipped one by its name.

    Raises:
        SettingsError: if there is none; the message lists the shipped ones.

    Example:
        >>> config_file("voc07_c4").name
        'voc07_c4.yaml'
    """
    for path in (Path(name), CONFIGS / f"{name.removesuffix('.yaml')}.yaml"):
        if path.is_file():
            return path
    shipped = shipped_configs()
    close = difflib.get_close_matches(name, shipped, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise SettingsError(f"no config file {name!r}{hint}; there are: {', '.join(shipped)}")


def default_config(arch: str) -> str:
    """Name the small config for a backbone: its own where there is one, else that for ResNets.

    Example:
        >>> default_config("vgg16"), default_config("resnet18")
        ('small_vgg16', 'small_c4')
    """
    own = f"small_{arch}"
    return own if own in shipped_configs() else "small_c4"


def pixel_statistics(spec: "InputSpec") -> tuple[list[float], list[float]]:
    """Convert a model's pixel statistics to detectron2's 0–255 scale.

    Returns:
        Mean and standard deviation of the three RGB channels.
    """
    mean = [255 * value for value in spec.mean]
    std = [255 * value for value in spec.std]
    return mean, std


def adopt(cfg: Any, model: str | Path) -> None:
    """Set everything in a detectron2 config that a zoo model decides.

    That is backbone, stem, weights, pixel statistics and channel order.

    Args:
        cfg: not frozen, with our keys.
        model: a model directory or a Hub repository.

    Raises:
        ModelError: if there is no such model.
    """
    import zoo
    from zoo.models.model_dir import read_config

    folder = zoo.locate(model)
    model_config = read_config(folder)
    mean, std = pixel_statistics(zoo.InputSpec(**model_config["npid"]["input"]))
    cfg.MODEL.WEIGHTS = str(folder)
    cfg.MODEL.NPID.ARCH = model_config["arch"]
    cfg.MODEL.NPID.STEM = model_config["npid"]["stem"]
    cfg.MODEL.PIXEL_MEAN = mean
    cfg.MODEL.PIXEL_STD = std
    cfg.INPUT.FORMAT = "RGB"
