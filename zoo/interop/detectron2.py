"""Our ResNets as files that detectron2's own ResNet loads."""

import pickle
import re

from torch import Tensor

from zoo.errors import SettingsError
from zoo.models import Backbone


def to_detectron2(model: Backbone) -> bytes:
    """Write a ``.pkl`` that detectron2's checkpointer loads by matching names.

    Args:
        model: a ResNet with the imagenet stem.

    Returns:
        The content of the file.

    Raises:
        SettingsError: for a backbone that detectron2's own ResNet does not have.
    """
    if not model.detectron2_compatible:
        raise SettingsError(
            f"detectron2's ResNet has no {model.arch} with {model.stem} stem; it takes ResNets "
            "with the imagenet stem"
        )
    arrays = {}
    for name, tensor in detectron2_names(model.state_dict(), model.projection).items():
        arrays[name] = tensor.numpy()
    content = {"model": arrays, "__author__": "npid-zoo", "matching_heuristics": True}
    return pickle.dumps(content, protocol=4)


def detectron2_names(state: dict[str, Tensor], projection: str = "fc") -> dict[str, Tensor]:
    """Name a ResNet's tensors as detectron2 does.

    Source: the names that ``detectron2/modeling/backbone/resnet.py`` gives its layers.

    Args:
        state: the tensors by torchvision's names.
        projection: torchvision's name of the projection. It and the batch counters have no place in
            detectron2 and are left out.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(f"{projection}.") or name.endswith("num_batches_tracked"):
            continue
        renamed[_detectron2_name(name)] = tensor
    return renamed


def _detectron2_name(name: str) -> str:
    renamed = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    renamed = re.sub(r"\bbn(\d)", r"conv\1.norm", renamed)
    stage = re.match(r"layer(\d)\.", renamed)
    if stage is None:
        return f"stem.{renamed}"
    return f"res{int(stage[1]) + 1}.{renamed[stage.end() :]}"
