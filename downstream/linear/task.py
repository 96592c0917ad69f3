"""The linear task: a classifier on each layer of a frozen model."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from downstream.figures import Figure, Table, percent_with_spread
from downstream.linear.config import PRESETS, LinearConfig
from downstream.task import OnProgress, Task, TaskInputs, count_images, register_task
from zoo.errors import DataError
from zoo.results import Results

if TYPE_CHECKING:
    from downstream.linear.probe_context import ProbeContext
    from zoo import Backbone

_VALUE_NAMES = {"lbfgs": "λ", "svm": "C", "sgd": "rate"}


@register_task
class Linear(Task[LinearConfig]):
    """Probe a model's layers.

    Metrics: ``res5/top1``, ``res5/top5``, … per layer, 0–1, means over the seeds; ``…/top1_std``
    with more than one; with baselines also ``untrained/res5/top1``, … and ``pixels/top1``. Details:
    for each the runs, with accuracy per class, confusion matrix and the chosen value.
    """

    name: ClassVar[str] = "linear"
    title: ClassVar[str] = "linear probe"
    help: ClassVar[str] = "Train a linear classifier on each layer of a frozen model."
    hub_task_type: ClassVar[str] = "image-classification"
    Config = LinearConfig
    presets = PRESETS
    default_preset: ClassVar[str] = "lbfgs"

    def num_images(self, inputs: TaskInputs, config: LinearConfig) -> int:
        """Images through each network once, and once more for each epoch on crops."""
        train = len(inputs.train)
        num_held_out = 0
        if len(config.sweep) > 1:
            from downstream.linear.probe import HELD_OUT
            from zoo.data.splits import hold_out

            labels, _ = inputs.train.require_labels()
            num_held_out = len(hold_out(labels, HELD_OUT, 0)[1])
        networks = 1 + config.seeds * config.baselines
        images = networks * (len(inputs.test) + train * config.uses_features)
        if config.trains_on_crops:
            trained_on = train
            if len(config.sweep) > 1:
                trained_on += train - num_held_out
            runs = config.seeds * (1 + config.baselines)
            images += runs * config.epochs * trained_on
        return images

    def headline(self, inputs: TaskInputs, config: LinearConfig) -> str:
        """The line above the table."""
        return f"Linear probes of {inputs.model_name} on {inputs.data}: {config.solver}"

    def run(
        self, inputs: TaskInputs, config: LinearConfig, on_progress: OnProgress | None = None
    ) -> Results:
        """Choose, fit and score each layer of each network."""
        from downstream.features.layers import check_layers
        from downstream.linear.probe import probe_layers
        from downstream.linear.probe_context import SOLVERS

        began = time.monotonic()
        config.check()
        SOLVERS[config.solver]
        train = inputs.train
        num_classes = len(set(train.require_labels()[0].tolist()))
        if len(train) < 2 * num_classes:
            raise DataError(
                f"{inputs.data}: {len(train)} training images are too few to probe "
                f"{num_classes} classes"
            )
        layers = list(config.layers or inputs.model.layers)
        check_layers(inputs.model, layers)
        probed = [*layers, "pixels"] if config.probes_pixels else layers
        contexts = _Contexts(inputs, config, count_images(on_progress, ""))
        pretrained = contexts.of(inputs.model, inputs.model_sha256, probed)
        runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for seed in range(config.seed, config.seed + config.seeds):
            for layer, scores in probe_layers(pretrained, seed).items():
                runs[layer].append(scores)
            if config.baselines:
                for layer, scores in probe_layers(contexts.untrained(seed, layers), seed).items():
                    runs[f"untrained/{layer}"].append(scores)
        return self._results(inputs, config, pretrained, layers, runs, time.monotonic() - began)

    def _results(
        self,
        inputs: TaskInputs,
        config: LinearConfig,
        context: "ProbeContext",
        layers: Sequence[str],
        runs: dict[str, list[dict[str, Any]]],
        seconds: float,
    ) -> Results:
        from downstream.metrics import over_seeds

        metrics: dict[str, float] = {}
        for name in sorted(runs, key=lambda name: name.startswith("untrained/")):
            metrics |= over_seeds(name, runs[name])
        bad = len(inputs.train.bad)
        if config.uses_features:
            bad = int((~context.train_features["good"]).sum())
        test_size = int(context.test_features["good"].sum())
        return self.results(
            inputs,
            config,
            split_sizes={"train": len(inputs.train) - bad, "test": test_size},
            metrics=metrics,
            seconds=seconds,
            settings={"layers": list(layers)},
            details=dict(runs),
        )

    def table(self, results: Results) -> Table:
        """A line per layer: accuracies, with their spread over seeds, and what was chosen."""
        kinds = []
        for kind in ("top1", "top5"):
            if any(name.endswith(f"/{kind}") for name in results.metrics):
                kinds.append(kind)
        rows = []
        for name, runs in results.details.items():
            cells = [percent_with_spread(results.metrics, f"{name}/{kind}") for kind in kinds]
            chosen = sorted({f"{run['chosen']:g}" for run in runs})
            rows.append((name, *cells, ", ".join(chosen)))
        headings = {"top1": "top-1, %", "top5": "top-5, %"}
        value_name = _VALUE_NAMES[results.settings["solver"]]
        return Table(columns=("layer", *(headings[kind] for kind in kinds), value_name), rows=rows)

    def figures(self, results: Results, model_name: str) -> Sequence[Figure]:
        """Accuracy by layer, beside baselines and published numbers."""
        from downstream.linear.figures import layer_figure

        return [layer_figure(results, model_name)]


class _Contexts:
    """Probe contexts of several networks on the same data."""

    def __init__(
        self, inputs: TaskInputs, config: LinearConfig, on_images: Callable[[int], None] | None
    ) -> None:
        self.inputs = inputs
        self.config = config
        self.on_images = on_images

    def of(self, network: "Backbone", cache_key: str, layers: Sequence[str]) -> "ProbeContext":
        """The context of one network, whose features are cached under the key."""
        from downstream.linear.probe_context import ProbeContext

        return ProbeContext(
            network,
            cache_key if self.config.cache else None,
            layers,
            self.inputs.train,
            self.inputs.test,
            self.config,
            self.on_images,
        )

    def untrained(self, seed: int, layers: Sequence[str]) -> "ProbeContext":
        """The context of the same network with random weights."""
        from downstream.features.layers import state_digest

        network = self.inputs.untrained_model(seed).eval()
        return self.of(network, state_digest(network), layers)
