"""detectron2's trainer with our checkpoints, image reading, log and evaluation."""

import copy
import os
import weakref
from collections.abc import Callable
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
from zoo import DataError
from zoo.utils.signals import Stop, Stopped

_KEPT = 2  # newest checkpoints that stay in the run folder


class UnreadableImage(DataError):
    """Says only what happened, where torch hands over a worker's whole traceback as its message."""

    def __init__(self, message: str) -> None:
        super().__init__(message.rstrip().rpartition(f"{type(self).__name__}: ")[2])


class Reader(DatasetMapper):
    """Reads images as all of the zoo does: upright, 16 bits rescaled, transparency on white, faults with their file."""

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        try:
            image = np.asarray(zoo.data.images.read(entry["file_name"]))
        except DataError as error:
            raise UnreadableImage(str(error)) from error
        entry = copy.deepcopy(entry)
        check_image_size(entry, image)
        seen = T.AugInput(image)
        transforms = self.augmentations(seen)
        entry["image"] = torch.as_tensor(np.ascontiguousarray(seen.image.transpose(2, 0, 1)))
        if self.is_train:
            self._transform_annotations(entry, transforms, seen.image.shape[:2])
        return entry


class _Watch(HookBase):
    """Tells of every step, and looks whether the run shall stop."""

    def __init__(self, told: Callable[[int, str], None] | None, stop: Stop) -> None:
        self.told, self.stop = told, stop

    def after_step(self) -> None:
        trainer: Any = self.trainer
        if self.told is not None:
            loss = trainer.storage.history("total_loss").latest()
            self.told(trainer.cfg.SOLVER.IMS_PER_BATCH, f"loss {loss:.3f}")
        if self.stop.signal is not None:
            trainer.checkpointer.save(f"model_{trainer.iter:07d}", iteration=trainer.iter)
            raise Stopped(self.stop.signal, Path(trainer.cfg.OUTPUT_DIR))


class Trainer(DefaultTrainer):
    """What ``npid detect`` runs. It evaluates when asked, not at the end by itself."""

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        return build_detection_train_loader(cfg, mapper=Reader(cfg, True))

    def build_hooks(self) -> list[Any]:
        # DefaultTrainer makes its checkpointer just before its hooks, which hold on to it
        self.checkpointer = SafeCheckpointer(
            self.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        kept = [hook for hook in super().build_hooks() if not isinstance(hook, hooks.EvalHook)]
        for hook in kept:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                hook.max_to_keep = _KEPT
        return kept

    def build_writers(self) -> list[EventWriter]:
        # metrics.json is the name of our list of results
        return [
            CommonMetricPrinter(self.max_iter),
            JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.jsonl")),
        ]

    def watch(self, told: Callable[[int, str], None] | None, stop: Stop) -> None:
        """Tell of every step (how many images, and the loss), and stop with a checkpoint when ``stop`` is set."""
        self.register_hooks([_Watch(told, stop)])

    def train(self) -> Any:
        if (
            self.start_iter
        ):  # with the seed as it was, a resumed run would see the first images once more
            seed_all_rng(self.cfg.SEED + self.start_iter)
            self._trainer.reset_data_loader(lambda: self.build_train_loader(self.cfg))
        return super().train()


@torch.no_grad()
def detect(cfg: Any, model: Any, name: str) -> dict[str, Detections]:
    """What a detector finds in a registered data set, by image id."""
    model.eval()
    found = {}
    for batch in build_detection_test_loader(cfg, name, mapper=Reader(cfg, False)):
        for given, output in zip(batch, model(batch), strict=True):
            seen = output["instances"].to("cpu")
            found[given["image_id"]] = Detections(
                np.asarray(seen.pred_boxes.tensor),
                np.asarray(seen.scores),
                np.asarray(seen.pred_classes),
            )
    return found
