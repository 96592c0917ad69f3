"""Zoo models as ``MODEL.WEIGHTS``: every tensor has its place or there is an error.

detectron2's own loading matches names and shapes as far as they go and only warns about the rest; a
detector with random weights, swapped channels or unscaled pixels then trains without a word.
"""

import functools
import re
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

import zoo
from downstream.detection.detectron2_config import pixel_statistics
from downstream.detection.network import NpidBackbone
from zoo.errors import ModelError
from zoo.models.model_dir import mismatches
from zoo.utils.files import new_file, write_text

# a tensor of ours in a detector, by its name in the zoo network
_DETECTOR_KEY = re.compile(r"(?:backbone\.(?:bottom_up\.)?|roi_heads\.box_head\.)net\.(.+)")
_DETECTRON2_SUFFIXES = {".pth", ".pkl", ".pyth"}

_detectron2_load = DetectionCheckpointer.load


def is_zoo_model(path: str) -> bool:
    """Whether this names a zoo model.

    That is a directory, or a Hub repository where nothing of that name lies here.
    """
    if not path:
        return False
    if Path(path).exists():
        return Path(path).is_dir()
    if "://" in path or Path(path).suffix in _DETECTRON2_SUFFIXES:
        return False
    from zoo import hub

    return hub.is_repo(path)


def load_zoo_model(detector: nn.Module, model: str | Path) -> None:
    """Load a zoo model's tensors into a detector.

    All of them are loaded but the projection's, and every place for one is filled: res5 may have
    two.

    Args:
        detector: built from a config with a backbone of ours.
        model: a model directory or a Hub repository.

    Raises:
        ModelError: listing everything that does not fit; the detector is untouched.
    """
    trunk = _find_trunk(detector)
    if trunk is None:
        raise ModelError(
            f"{model} is a zoo model, but this config builds no backbone of the zoo: set "
            "MODEL.BACKBONE.NAME to build_npid_backbone or build_npid_fpn_backbone, or convert the "
            "model with `npid convert --format detectron2`"
        )
    source = zoo.load(model)
    state = detector.state_dict()
    model_keys = {}
    expected = {}
    for key in state:
        match = _DETECTOR_KEY.fullmatch(key)
        if match is not None:
            model_keys[key] = match[1]
            expected[match[1]] = state[key]
    tensors = {}
    for name, tensor in source.state_dict().items():
        if name in expected or not _has_no_place(name, source):
            tensors[name] = tensor
    faults = _disagreements(detector, trunk, source)
    if not faults:  # of another network, every single tensor would be listed
        faults = mismatches(expected, tensors)
    if faults:
        raise ModelError(
            f"{model} does not fit the detector that this config builds:\n  " + "\n  ".join(faults)
        )
    loaded = {key: tensors[name] for key, name in model_keys.items()}
    detector.load_state_dict(loaded, strict=False)


def _find_trunk(detector: nn.Module) -> NpidBackbone | None:
    for module in detector.modules():
        if isinstance(module, NpidBackbone):
            return module
    return None


def _has_no_place(name: str, model: zoo.Backbone) -> bool:
    """The projection's have none in a detector; batch counters only where norms are not frozen."""
    return name.startswith(f"{model.projection}.") or name.endswith("num_batches_tracked")


def _disagreements(detector: Any, trunk: NpidBackbone, model: zoo.Backbone) -> list[str]:
    """Where a detector was built to see or to be something else than the model."""
    net = trunk.net
    faults = []
    if (net.arch, net.stem) != (model.arch, model.stem):
        faults.append(
            f"MODEL.NPID.ARCH and STEM give {net.arch} with {net.stem} stem, the model is a "
            f"{model.arch} with {model.stem} stem"
        )
    mean, std = pixel_statistics(model.input)
    buffers = (("MEAN", detector.pixel_mean, mean), ("STD", detector.pixel_std, std))
    for key, buffer, expected in buffers:
        actual = buffer.flatten().cpu()
        needed = torch.tensor(expected)
        if actual.shape != (3,) or not torch.allclose(actual, needed, atol=0.01, rtol=0):
            faults.append(
                f"MODEL.PIXEL_{key} is {_rounded(actual.tolist())}, the model needs "
                f"{_rounded(expected)}"
            )
    # not all of detectron2's architectures keep the order
    channel_order = getattr(detector, "input_format", "RGB")
    if channel_order != "RGB":
        faults.append(f"INPUT.FORMAT is {channel_order}, the model needs RGB")
    return faults


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


@functools.wraps(_detectron2_load)
def _load(self: Any, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    if is_zoo_model(path):
        load_zoo_model(self.model, path)
        return {}
    extra: dict[str, Any] = _detectron2_load(self, path, *args, **kwargs)
    return extra


def install() -> None:
    """Let detectron2's checkpointer load zoo models too, in whatever script it is used.

    It offers no hook for this: its path handlers give files, and a file's tensors are matched
    without accounting. Calling it again is fine.
    """
    if DetectionCheckpointer.load is _detectron2_load:
        DetectionCheckpointer.load = _load


class SafeCheckpointer(DetectionCheckpointer):
    """A checkpointer whose files appear complete or not at all.

    A run that is killed at any moment resumes from its newest checkpoint.
    """

    def save(self, name: str, **extra: Any) -> None:
        """Save the model and everything to be checkpointed as ``NAME.pth``.

        Args:
            name: of the file, without its suffix.
            **extra: what else to keep, as the iteration.

        Raises:
            WriteError: where it cannot be written; the newest checkpoint stays what it was.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        content: dict[str, Any] = {"model": self.model.state_dict(), **extra}
        for key, checkpointable in self.checkpointables.items():
            content[key] = checkpointable.state_dict()
        with new_file(Path(self.save_dir) / f"{name}.pth") as temporary:
            torch.save(content, temporary)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note which checkpoint is the newest."""
        write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)
