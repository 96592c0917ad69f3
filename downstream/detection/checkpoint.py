"""Zoo models as ``MODEL.WEIGHTS``: every tensor has its place or there is an error, and so have the pixel settings.

detectron2's own loading matches names and shapes as far as they go and only warns about the rest; a detector with
random weights, swapped channels or unscaled pixels then trains without a word.
"""

import functools
import re
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

import zoo
from downstream.detection.config import pixel_statistics
from downstream.detection.network import NpidBackbone
from zoo import ModelError
from zoo.models.model_dir import mismatches
from zoo.utils.files import new_file, write_text

_PLACE = re.compile(r"(?:backbone\.(?:bottom_up\.)?|roi_heads\.box_head\.)net\.(.+)")
_DETECTRON2 = {".pth", ".pkl", ".pyth"}  # suffixes of its own files


def is_zoo_model(path: str) -> bool:
    """Whether this names a zoo model: a directory, or a Hub repository where nothing of that name lies here."""
    if not path or Path(path).exists():
        return Path(path).is_dir() if path else False
    if "://" in path or Path(path).suffix in _DETECTRON2:
        return False
    from zoo import hub

    return hub.is_repo(path)


def _disagreements(detector: nn.Module, trunk: NpidBackbone, model: zoo.Backbone) -> list[str]:
    """What a detector was built to see and be, where it is not what the model was trained on and is."""
    net = trunk.net
    wrong = []
    if (net.arch, net.stem) != (model.arch, model.stem):
        wrong.append(
            f"MODEL.NPID.ARCH and STEM give {net.arch} with {net.stem} stem, the model is a {model.arch} with "
            f"{model.stem} stem"
        )
    for key, wanted in zip(("PIXEL_MEAN", "PIXEL_STD"), pixel_statistics(model.input), strict=True):
        found = getattr(detector, key.lower()).flatten().cpu()
        if found.shape != (3,) or not torch.allclose(
            found, torch.tensor(wanted), atol=0.01, rtol=0
        ):
            shown = [round(value, 3) for value in found.tolist()]
            wrong.append(
                f"MODEL.{key} is {shown}, the model needs {[round(value, 3) for value in wanted]}"
            )
    order = getattr(detector, "input_format", "RGB")
    if order != "RGB":
        wrong.append(f"INPUT.FORMAT is {order}, the model needs RGB")
    return wrong


def load_zoo_model(detector: nn.Module, model: str | Path) -> None:
    """Load a zoo model's tensors into a detector: all of them but the projection's, and into every place for one.

    Args:
        detector: built from a config with a backbone of ours.
        model: a model directory or a Hub repository.

    Raises:
        ModelError: listing everything that does not fit; the detector is untouched.
    """
    trunk = next(
        (module for module in detector.modules() if isinstance(module, NpidBackbone)), None
    )
    if trunk is None:
        raise ModelError(
            f"{model} is a zoo model, but this config builds no backbone of the zoo: set MODEL.BACKBONE.NAME to "
            "build_npid_backbone or build_npid_fpn_backbone, or convert the model with "
            "`npid convert --format detectron2`"
        )
    source = zoo.load(model)
    state = detector.state_dict()
    places = {
        name: match[1] for name in state if (match := _PLACE.fullmatch(name))
    }  # res5 may have two
    tensors = {
        own: t
        for own, t in source.state_dict().items()
        if _wanted(own, source, set(places.values()))
    }
    faults = _disagreements(detector, trunk, source)
    if not faults:  # of another network, every single tensor would be listed
        faults = mismatches({own: state[name] for name, own in places.items()}, tensors)
    if faults:
        raise ModelError(
            f"{model} does not fit the detector that this config builds:\n  " + "\n  ".join(faults)
        )
    detector.load_state_dict({name: tensors[own] for name, own in places.items()}, strict=False)


def _wanted(name: str, model: zoo.Backbone, places: set[str]) -> bool:
    """The projection has no place in a detector; batch counters have one only where norms are not frozen."""
    if name.startswith(f"{model.projection}."):
        return False
    return name in places or not name.endswith("num_batches_tracked")


def install() -> None:
    """Let detectron2's checkpointer load zoo models too, in whatever script it is used. Calling it again is fine.

    It offers no hook for this: its path handlers give files, and a file's tensors are matched without accounting.
    """
    theirs = DetectionCheckpointer.load
    if getattr(theirs, "reads_zoo_models", False):
        return

    @functools.wraps(theirs)
    def load(self: Any, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not is_zoo_model(path):
            return theirs(self, path, *args, **kwargs)
        load_zoo_model(self.model, path)
        return {}

    load.reads_zoo_models = True  # type: ignore[attr-defined]
    DetectionCheckpointer.load = load


class SafeCheckpointer(DetectionCheckpointer):
    """Files appear complete or not at all, so that a run killed at any moment resumes from its newest checkpoint."""

    def save(self, name: str, **more: Any) -> None:
        if not self.save_dir or not self.save_to_disk:
            return
        content: dict[str, Tensor | Any] = {"model": self.model.state_dict(), **more}
        content |= {key: thing.state_dict() for key, thing in self.checkpointables.items()}
        with new_file(Path(self.save_dir) / f"{name}.pth") as aside:
            torch.save(content, aside)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)
