"""The detection task: Faster R-CNN on a backbone, through detectron2."""

import time
from typing import ClassVar

from downstream.detection.config import PRESETS, DetectConfig
from downstream.detection.details import data_details, data_notes
from downstream.task import OnProgress, Task, TaskInputs, register_task
from zoo.results import METRICS_FILE, Results


@register_task
class Detect(Task[DetectConfig]):
    """Train a detector on the training split, score it on the test split, draw pictures.

    Metrics: ``AP``, ``AP50``, ``AP75`` and ``AP50/CLASS``, 0–1.
    """

    name: ClassVar[str] = "detect"
    title: ClassVar[str] = "detection"
    help: ClassVar[str] = "Train a Faster R-CNN detector on a model, through detectron2."
    hub_task_type: ClassVar[str] = "object-detection"
    Config = DetectConfig
    presets = PRESETS
    default_preset: ClassVar[str] = "small"
    data_metavar: ClassVar[str] = "VOC_ROOT"
    data_help: ClassVar[str] = "A folder of VOC's XML, a devkit, or one with COCO JSON."

    def num_images(self, inputs: TaskInputs, config: DetectConfig) -> int:
        """Images of all iterations."""
        from downstream.detection.run import build_config

        solver = build_config(inputs.model_dir, config).SOLVER
        return int(solver.MAX_ITER * solver.IMS_PER_BATCH)

    def headline(self, inputs: TaskInputs, config: DetectConfig) -> str:
        """The line above the table."""
        return (
            f"Detection with {inputs.model_name} on {inputs.data}; "
            f"pictures and {METRICS_FILE} in {config.out}"
        )

    def notes(self, results: Results) -> list[str]:
        """What was left out or assumed of the data set."""
        return data_notes(results.details)

    def run(
        self, inputs: TaskInputs, config: DetectConfig, on_progress: OnProgress | None = None
    ) -> Results:
        """Train, score and draw.

        Args:
            inputs: a model, and a VOC folder, a devkit, or a folder with COCO JSON.
            config: settings.
            on_progress: is called with the number of images trained on since the last call, and the
                loss.

        Returns:
            The scores; they are also added to metrics.json in the run folder.

        Raises:
            SettingsError, DataError, ModelError, RunError: what is wrong with each.
            Stopped: when a signal ends the run, which has saved a checkpoint.
        """
        from downstream.detection.run import draw_pictures, open_run, train_and_detect
        from downstream.detection.scores import score

        began = time.monotonic()
        config.check()
        run = open_run(inputs.model_dir, inputs.data, config)
        detections = train_and_detect(run, config, on_progress)
        draw_pictures(run, detections, config.pictures)
        results = self.results(
            inputs,
            config,
            split_sizes=run.split_sizes,
            metrics=score(run.test, detections),
            seconds=time.monotonic() - began,
            settings={
                "iterations": run.cfg.SOLVER.MAX_ITER,
                "batch": run.cfg.SOLVER.IMS_PER_BATCH,
            },
            details=data_details(run.train, run.test),
        )
        results.append(config.out / METRICS_FILE)
        return results
