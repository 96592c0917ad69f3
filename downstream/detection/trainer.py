"""detectron2's trainer with our checkpoints, log and evaluation."""

import os
import weakref
from typing import Any

import numpy as np
from detectron2.engine import DefaultTrainer, hooks
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter

from downstream.detection.checkpoint import SafeCheckpointer
from downstream.detection.records import Split
from downstream.detection.scores import Detections, score


class Evaluator(DatasetEvaluator):
    """Collects detections, and scores them as VOC does. ``found`` holds them by image id."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.found: dict[str, Detections] = {}

    def reset(self) -> None:
        self.found = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        for given, output in zip(inputs, outputs, strict=True):
            seen = output["instances"].to("cpu")
            self.found[given["image_id"]] = Detections(
                np.asarray(seen.pred_boxes.tensor), np.asarray(seen.scores), np.asarray(seen.pred_classes)
            )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """AP values in 0–100, under ``bbox``, as detectron2's own evaluators give them."""
        return {"bbox": {name: 100 * value for name, value in score(self.split, self.found).items()}}


class Trainer(DefaultTrainer):
    """What ``npid detect`` runs. It evaluates when asked, not at the end by itself."""

    def build_hooks(self) -> list[Any]:
        # DefaultTrainer makes its checkpointer just before its hooks, which hold on to it
        self.checkpointer = SafeCheckpointer(self.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        return [hook for hook in super().build_hooks() if not isinstance(hook, hooks.EvalHook)]

    def build_writers(self) -> list[EventWriter]:
        # metrics.json is the name of our list of results
        return [CommonMetricPrinter(self.max_iter), JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.jsonl"))]


def evaluate(cfg: Any, model: Any, name: str, split: Split) -> tuple[dict[str, float], dict[str, Detections]]:
    """Score a detector on a registered data set.

    Returns:
        AP, AP50, AP75 and AP50 per class in 0–1, by COCO's definition for COCO JSON and VOC's otherwise; detections by
        image id.
    """
    ours = Evaluator(split)
    if split.coco is None:
        results = Trainer.test(cfg, model, ours)
    else:
        theirs = COCOEvaluator(name, ("bbox",), False, output_dir=cfg.OUTPUT_DIR)
        model.eval()
        results = Trainer.test(cfg, model, DatasetEvaluators([_Silent(ours), theirs]))
    return {key: float(value) / 100 for key, value in results["bbox"].items()}, ours.found


class _Silent(DatasetEvaluator):
    """Only collects, for a data set that another evaluator scores."""

    def __init__(self, collector: Evaluator) -> None:
        self.reset, self.process = collector.reset, collector.process

    def evaluate(self) -> None:
        return None
