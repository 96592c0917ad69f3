"""The fine-tuning task: the whole network on parts of the labels, beside the same from scratch."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from downstream.figures import Figure, Table, percent_with_spread
from downstream.finetune.config import PRESETS, FinetuneConfig
from downstream.task import OnProgress, Task, TaskInputs, count_images, register_task
from zoo.errors import SettingsError
from zoo.results import Results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo import Backbone

    Parts = dict[tuple[str, int], NDArray[np.int64]]


@register_task
class Finetune(Task[FinetuneConfig]):
    """Fine-tune a model on parts of the labels, beside the same network from scratch.

    Metrics: ``pretrained/1%/top1``, ``scratch/1%/top1``, …: means over the seeds, 0–1;
    ``…/top1_std`` with more than one seed. Details: the scores of every run with accuracy per class
    and confusion matrix.
    """

    name: ClassVar[str] = "finetune"
    title: ClassVar[str] = "fine-tuning"
    help: ClassVar[str] = (
        "Fine-tune a whole model on few labels, beside the same network from scratch."
    )
    hub_task_type: ClassVar[str] = "image-classification"
    Config = FinetuneConfig
    presets = PRESETS
    default_preset: ClassVar[str] = "small"

    def num_images(self, inputs: TaskInputs, config: FinetuneConfig) -> int:
        """Images of all steps of all runs."""
        from downstream.finetune.subsets import label_subset
        from downstream.finetune.training import count_training_images

        sizes = []
        for amount in config.labels:
            sizes.append(len(label_subset(inputs.train, amount, config.seed)))
        return count_training_images(config, sizes)

    def headline(self, inputs: TaskInputs, config: FinetuneConfig) -> str:
        """The line above the table."""
        return f"{inputs.model_name} fine-tuned on {inputs.data}: top-1, %"

    def run(
        self, inputs: TaskInputs, config: FinetuneConfig, on_progress: OnProgress | None = None
    ) -> Results:
        """Train and score every part, seed and start."""
        from downstream.finetune.training import fit, score_classifier
        from downstream.metrics import over_seeds

        began = time.monotonic()
        config.check()
        _check_layers(inputs, config)
        parts = _parts(inputs, config)
        metrics: dict[str, float] = {}
        details: dict[str, Any] = {}
        for amount in config.labels:
            for start in _starts(config.scratch):
                scores = []
                for seed in _seeds(config):
                    network = _network(inputs, start, seed)
                    on_images = count_images(on_progress, f"{start} {amount} seed {seed}")
                    indices = parts[amount, seed]
                    fitted = fit(network, inputs.train, indices, config, seed, on_images)
                    scores.append(score_classifier(fitted, inputs.test, config))
                name = f"{start}/{Path(amount).name}"
                details[name] = scores
                num_scored = scores[0]["images"]
                metrics |= over_seeds(name, scores)
        bad = len(inputs.train.bad)  # as far as they were looked at
        sizes = {"train": len(inputs.train) - bad, "test": num_scored}
        for amount in config.labels:
            sizes[Path(amount).name] = len(parts[amount, config.seed])
        return self.results(
            inputs,
            config,
            split_sizes=sizes,
            metrics=metrics,
            seconds=time.monotonic() - began,
            details=details,
        )

    def table(self, results: Results) -> Table:
        """A row per part of the labels: its name, its images, and top-1 of each start."""
        starts = _starts(results.settings["scratch"])
        rows = []
        for amount in results.settings["labels"]:
            part = Path(amount).name
            cells = []
            for start in starts:
                cells.append(percent_with_spread(results.metrics, f"{start}/{part}/top1"))
            rows.append((part, results.split_sizes[part], *cells))
        return Table(columns=("labels", "images", *starts), rows=rows)

    def figures(self, results: Results, model_name: str) -> Sequence[Figure]:
        """Accuracy against labelled images, with the standard deviation over the seeds."""
        from downstream.finetune.figures import few_label_figure

        return [few_label_figure(results, model_name)]


def _starts(scratch: bool) -> list[str]:
    return ["pretrained", "scratch"] if scratch else ["pretrained"]


def _seeds(config: FinetuneConfig) -> range:
    return range(config.seed, config.seed + config.seeds)


def _network(inputs: TaskInputs, start: str, seed: int) -> "Backbone":
    if start == "scratch":
        return inputs.untrained_model(seed)
    return inputs.fresh_model()


def _check_layers(inputs: TaskInputs, config: FinetuneConfig) -> None:
    model = inputs.model
    unknown = [name for name in config.layers if name not in model.layers]
    if unknown:
        raise SettingsError(
            f"{model.arch} has no layer {', '.join(unknown)}; it has {', '.join(model.layers)}"
        )


def _parts(inputs: TaskInputs, config: FinetuneConfig) -> "Parts":
    """The images of every part and seed; written to ``config.lists`` too, where that is given."""
    from downstream.finetune.subsets import label_subset
    from zoo.utils.files import write_text

    train = inputs.train
    parts: Parts = {}
    for amount in config.labels:
        for seed in _seeds(config):
            indices = label_subset(train, amount, seed)
            parts[amount, seed] = indices
            if config.lists is not None:
                keys = [train.key(int(index)) + "\n" for index in indices]
                write_text(config.lists / f"{Path(amount).name}-seed{seed}.txt", "".join(keys))
    return parts
