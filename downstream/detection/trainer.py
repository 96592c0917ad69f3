"""detectron2's trainer with our checkpoints, image reading, log and evaluation."""

import copy
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper, build_detection_test_loader, build_detection_train_loader
from detectron2.data import transforms as T
from detectron2.data.detection_utils import check_image_size
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter

import zoo.data.images
from downstream.detection.checkpoint import SafeCheckpointer
from downstream.detection.scores import Detections
from downstream.task import OnProgress
from zoo.errors import DataError
from zoo.utils.signals import Stop, Stopped

_MAX_CHECKPOINTS = 2  # newest ones, which stay in the run folder


class UnreadableImageError(DataError):
    """An image that cannot be read, in a process that loads data.

    Says only what happened, where torch hands over a worker's whole traceback as its message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rstrip().rpartition(f"{type(self).__name__}: ")[2])


class ImageMapper(DatasetMapper):
    """Reads images as all of the zoo does.

    Upright, 16 bits rescaled, transparency on white, faults with their file.
    """

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Add ``image`` (3×H×W, uint8) and, for training, ``instances`` to a copy of an entry.

        Args:
            entry: in detectron2's "standard dataset dict".

        Raises:
            UnreadableImageError: naming the file.
        """
        try:
            pixels = np.asarray(zoo.data.images.read(entry["file_name"]))
        except DataError as error:
            raise UnreadableImageError(str(error)) from error
        mapped = copy.deepcopy(entry)
        check_image_size(mapped, pixels)
        augmented = T.AugInput(pixels)
        transforms = self.augmentations(augmented)
        channels_first = np.ascontiguousarray(augmented.image.transpose(2, 0, 1))
        mapped["image"] = torch.as_tensor(channels_first)
        if self.is_train:
            self._transform_annotations(mapped, transforms, augmented.image.shape[:2])
        return mapped


class _ProgressHook(HookBase):
    """Reports every iteration, and looks whether the run shall stop."""

    def __init__(self, on_progress: OnProgress | None, stop: Stop) -> None:
        self.on_progress = on_progress
        self.stop = stop

    def after_step(self) -> None:
        trainer: Any = self.trainer
        if self.on_progress is not None:
            loss = trainer.storage.history("total_loss").latest()
            self.on_progress(trainer.cfg.SOLVER.IMS_PER_BATCH, f"loss {loss:.3f}")
        if self.stop.signal is not None:
            trainer.checkpointer.save(f"model_{trainer.iter:07d}", iteration=trainer.iter)
            raise Stopped(self.stop.signal, Path(trainer.cfg.OUTPUT_DIR))


class Trainer(DefaultTrainer):
    """What ``npid detect`` runs. It evaluates when asked, not at the end by itself."""

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        """Build the loader of training images, which are read as all of the zoo does."""
        return build_detection_train_loader(cfg, mapper=ImageMapper(cfg, True))

    def build_hooks(self) -> list[Any]:
        """Build detectron2's hooks without that which evaluates."""
        # DefaultTrainer makes its checkpointer just before its hooks, which hold on to it
        self.checkpointer = SafeCheckpointer(
            self.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        kept = []
        for hook in super().build_hooks():
            if isinstance(hook, hooks.PeriodicCheckpointer):
                hook.max_to_keep = _MAX_CHECKPOINTS
            if not isinstance(hook, hooks.EvalHook):
                kept.append(hook)
        return kept

    def build_writers(self) -> list[EventWriter]:
        """Build the writers; the lines go to metrics.jsonl, as metrics.json is our results."""
        lines = os.path.join(self.cfg.OUTPUT_DIR, "metrics.jsonl")
        return [CommonMetricPrinter(self.max_iter), JSONWriter(lines)]

    def report_to(self, on_progress: OnProgress | None, stop: Stop) -> None:
        """Report every iteration, and stop with a checkpoint when asked to.

        Args:
            on_progress: is called with the number of images and the loss.
            stop: is looked at after each iteration.
        """
        self.register_hooks([_ProgressHook(on_progress, stop)])

    def train(self) -> Any:
        """Train to the last iteration."""
        if self.start_iter:  # with the same seed, a resumed run would see the first images again
            seed_all_rng(self.cfg.SEED + self.start_iter)
            self._trainer.reset_data_loader(lambda: self.build_train_loader(self.cfg))
        return super().train()


@torch.no_grad()
def detect(cfg: Any, model: Any, dataset: str) -> dict[str, Detections]:
    """Use a detector on a registered data set.

    Args:
        cfg: that it was built from.
        model: the detector, which is left in eval mode.
        dataset: the name it is registered under.

    Returns:
        What it sees, by image id.
    """
    model.eval()
    detections = {}
    for batch in build_detection_test_loader(cfg, dataset, mapper=ImageMapper(cfg, False)):
        for entry, output in zip(batch, model(batch), strict=True):
            instances = output["instances"].to("cpu")
            detections[entry["image_id"]] = Detections(
                boxes=np.asarray(instances.pred_boxes.tensor),
                scores=np.asarray(instances.scores),
                categories=np.asarray(instances.pred_classes),
            )
    return detections
