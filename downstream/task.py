"""The contract of a task: what a backbone can be used for, and what it scores there.

A task is one file with a config and a class, registered with :func:`register_task` and imported
once in :mod:`downstream.tasks`. The command line makes a command of it, cards and reports show its
results. A task's file imports no torch at the top, so that ``npid --help`` answers at once; what
computes is imported when it runs.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from downstream.figures import Figure, Table
from zoo.data.split_names import canonical_split, parse_share
from zoo.errors import SettingsError
from zoo.results import Results
from zoo.utils.registry import Registry

if TYPE_CHECKING:
    from zoo import Backbone
    from zoo.data.source import Source

LARGEST_SEED = 2**32 - 1  # what every library that draws takes
OnProgress = Callable[[int, str], None]
"""Called with a number of images and a word on how it goes, after each batch."""


def count_images(on_progress: OnProgress | None, note: str) -> Callable[[int], None] | None:
    """A callback that takes a number of images only, with a fixed note; None for None."""
    if on_progress is None:
        return None

    def count(images: int) -> None:
        on_progress(images, note)

    return count


def option(
    default: Any,
    help: str,
    *,
    flag: str = "",
    metavar: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    hidden: bool = False,
    positional: bool = False,
    recorded: bool = True,
) -> Any:
    """A field of a task's config, with what the command line needs to make an option of it.

    Args:
        default: the value where none is given.
        help: a whole sentence.
        flag: the option's name where it is not the field's, as ``--crops/--no-crops``.
        metavar: what stands for the value in the help.
        minimum: the smallest number allowed.
        maximum: the largest.
        hidden: whether only Python can set it.
        positional: whether it takes all words that follow MODEL and DATA.
        recorded: whether it is part of the settings in metrics.json; a folder to write to is not.
    """
    details = {
        "help": help,
        "flag": flag,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "hidden": hidden,
        "positional": positional,
        "recorded": recorded,
    }
    return dataclasses.field(default=default, metadata=details)


def _range_faults(field: dataclasses.Field[Any], value: Any) -> list[str]:
    """What is wrong with a number, or with one of a tuple of numbers."""
    found = []
    minimum = field.metadata.get("minimum")
    maximum = field.metadata.get("maximum")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            found.append(f"{field.name} must be a finite number, got {number}")
        elif minimum is not None and number is not None and number < minimum:
            found.append(f"{field.name} must be at least {minimum:g}, got {number}")
        elif maximum is not None and number is not None and number > maximum:
            found.append(f"{field.name} must be at most {maximum}, got {number}")
    return found


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What every task can be told.

    Attributes:
        split: of the data set, to learn from.
        test_split: to score on; where ``test`` has no labels, ``val`` stands in for it.
        holdout: a share such as ``20%`` of each class of the training images to score on in place
            of a test split; empty for none.
        seed: of everything that is drawn at random.
        device: as torch names it.
        workers: processes that decode images; 0 for this one.
        skip_bad: whether images that cannot be read are left out.
    """

    split: str = option("train", "Split to learn from.", metavar="NAME")
    test_split: str = option(
        "test", "Split to score on; val stands in where test has no labels.", metavar="NAME"
    )
    holdout: str = option(
        "",
        "Score on this share of each class of the training images, in place of a test split: 20%.",
        metavar="SHARE",
    )
    seed: int = option(
        0, "Seed of everything that is drawn at random.", minimum=0, maximum=LARGEST_SEED
    )
    device: str = option("cpu", "Where to compute.", hidden=True)
    workers: int = option(0, "Processes that decode images.", hidden=True)
    skip_bad: bool = option(False, "Leave out images that cannot be read.", hidden=True)

    def faults(self) -> list[str]:
        """What is wrong with the values, a line each."""
        found = []
        for field in dataclasses.fields(self):
            found += _range_faults(field, getattr(self, field.name))
        return found + self.split_faults()

    def split_faults(self) -> list[str]:
        """What is wrong with the choice of splits, a line each."""
        found = []
        if self.holdout:
            if self.test_split != "test":
                found.append("holdout takes the place of a test split: give one of the two")
            try:
                parse_share(self.holdout)
            except SettingsError as error:
                found.append(str(error))
        elif canonical_split(self.split) == canonical_split(self.test_split):
            found.append(f"split and test_split are both {self.split}; scores need other images")
        return found

    def check(self) -> None:
        """Check every value.

        Raises:
            SettingsError: listing every value that is out of range.
        """
        found = self.faults()
        if found:
            raise SettingsError("; ".join(found))

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """A copy with other values; subclasses adapt what depends on them."""
        return dataclasses.replace(self, **changes)

    def recorded(self) -> dict[str, Any]:
        """What metrics.json keeps of it."""
        values = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if not field.metadata.get("recorded", True):
                del values[field.name]
        return values


class TaskInputs:
    """A model and a data set, each opened when it is first asked for and only once.

    Attributes:
        model_name: what the user calls the model.
        data: what the user calls the data set.
        skip_bad: whether images that cannot be read are left out.
        split, test_split, holdout, seed: which images are learned from and scored on; see
            :class:`TaskConfig`.
    """

    def __init__(
        self,
        model_name: str | Path,
        data: str,
        *,
        skip_bad: bool = False,
        split: str = "train",
        test_split: str = "test",
        holdout: str = "",
        seed: int = 0,
    ) -> None:
        self.model_name = str(model_name)
        self.data = data
        self.skip_bad = skip_bad
        self.split = split
        self.test_split = test_split
        self.holdout = holdout
        self.seed = seed

    @classmethod
    def of(cls, model_name: str | Path, data: str, config: TaskConfig) -> Self:
        """The inputs that a config asks for.

        Args:
            model_name: anything that ``zoo.load`` takes.
            data: anything that ``open_source`` takes.
            config: of the task.
        """
        return cls(
            model_name,
            data,
            skip_bad=config.skip_bad,
            split=config.split,
            test_split=config.test_split,
            holdout=config.holdout,
            seed=config.seed,
        )

    @cached_property
    def model_dir(self) -> Path:
        """The directory of the model.

        Raises:
            ModelError, HubError: if there is no such model.
        """
        from zoo import locate

        return locate(self.model_name)

    @cached_property
    def model(self) -> "Backbone":
        """The backbone in eval mode; a task that changes weights takes :meth:`fresh_model`."""
        return self.fresh_model()

    def fresh_model(self) -> "Backbone":
        """The backbone once more, read from its directory."""
        from zoo import load

        return load(self.model_dir)

    def untrained_model(self, seed: int) -> "Backbone":
        """The same network with random weights that depend on the seed alone."""
        import torch

        from zoo import create

        torch.manual_seed(seed)
        model = self.model
        return create(model.arch, embed_dim=model.embed_dim, stem=model.stem, input=model.input)

    @cached_property
    def model_sha256(self) -> str:
        """Digest of the weight file."""
        from zoo.models.model_dir import WEIGHTS, sha256

        return sha256(self.model_dir / WEIGHTS)

    @cached_property
    def splits(self) -> tuple["Source", "Source"]:
        """The labelled training and test split, with one list of classes.

        Raises:
            DataError: if a split is missing or has no labels.
        """
        from zoo.data.splits import labelled_splits

        return labelled_splits(
            self.data,
            train=self.split,
            test=self.test_split,
            holdout=parse_share(self.holdout) if self.holdout else None,
            seed=self.seed,
            skip_bad=self.skip_bad,
        )

    @property
    def train(self) -> "Source":
        """The labelled training split."""
        return self.splits[0]

    @property
    def test(self) -> "Source":
        """The labelled test split."""
        return self.splits[1]


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class Task(ABC, Generic[ConfigT]):
    """Something a backbone is used for.

    Attributes:
        name: of the command, and ``task`` in metrics.json.
        title: what cards and reports call it.
        help: one sentence for the command line.
        hub_task_type: the Hub's name for the kind of task.
        Config: its settings.
        presets: named settings.
        default_preset: the preset that the command line starts from.
        data_metavar, data_help: what DATA is, where it is not a data set of the zoo.
        omitted_options: options that every task has and this one does not.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    help: ClassVar[str]
    hub_task_type: ClassVar[str]
    Config: type[ConfigT]
    presets: Registry[ConfigT]
    default_preset: ClassVar[str]
    data_metavar: ClassVar[str] = "DATA"
    data_help: ClassVar[str] = "A data set with labels: a folder, or a name such as digits."
    omitted_options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def num_images(self, inputs: TaskInputs, config: ConfigT) -> int:
        """How many images ``on_progress`` will count in all."""

    @abstractmethod
    def run(
        self, inputs: TaskInputs, config: ConfigT, on_progress: OnProgress | None = None
    ) -> Results:
        """Do the task.

        Args:
            inputs: the model and the data.
            config: settings, not yet checked.
            on_progress: is called after each batch.

        Raises:
            SettingsError, DataError, ModelError: before anything is trained.
        """

    def results(
        self,
        inputs: TaskInputs,
        config: ConfigT,
        *,
        split_sizes: dict[str, int],
        metrics: dict[str, float],
        seconds: float,
        settings: Mapping[str, Any] | None = None,
        details: dict[str, Any] | None = None,
    ) -> Results:
        """What :meth:`run` returns, with what is the same for every task filled in.

        Args:
            inputs: the model and the data.
            config: settings; what is recorded of them goes into the results.
            split_sizes: images that were used, by split.
            metrics: name → value; accuracies lie in 0–1.
            seconds: how long it took.
            settings: further settings, or resolved ones.
            details: what is too long for a table.
        """
        return Results(
            task=self.name,
            data=inputs.data,
            split_sizes=split_sizes,
            settings={**config.recorded(), **(settings or {})},
            metrics=metrics,
            model_sha256=inputs.model_sha256,
            seconds=round(seconds, 1),
            title=self.title,
            hub_task_type=self.hub_task_type,
            details=details or {},
        )

    def table(self, results: Results) -> Table:
        """What the command line prints; by default every metric in per cent."""
        rows = [(name, 100 * value) for name, value in results.metrics.items()]
        return Table(columns=("metric", "%"), rows=rows)

    def notes(self, results: Results) -> Sequence[str]:
        """What the reader of the scores should know, a sentence each; nothing by default."""
        return ()

    def headline(self, inputs: TaskInputs, config: ConfigT) -> str:
        """The line above the table."""
        return f"{self.title} of {inputs.model_name} on {inputs.data}"

    def figures(self, results: Results, model_name: str) -> Sequence[Figure]:
        """Plots of the results for reports and ``--plot``; none by default."""
        return ()


TASKS: Registry[Task[Any]] = Registry("task")
TaskT = TypeVar("TaskT", bound=type[Task[Any]])


def register_task(kind: TaskT) -> TaskT:
    """Class decorator that adds a task to ``TASKS`` under its name.

    Raises:
        TypeError: if the class lacks something that the contract asks for.
        ValueError: if the name is taken.
    """
    required = ("name", "title", "help", "hub_task_type", "Config", "presets", "default_preset")
    missing = [attribute for attribute in required if not hasattr(kind, attribute)]
    if missing:
        raise TypeError(f"task {kind.__name__} lacks {', '.join(missing)}")
    TASKS.register(kind.name)(kind())
    return kind


def run_task(
    name: str,
    model: str | Path,
    data: str,
    *,
    preset: str | None = None,
    on_progress: OnProgress | None = None,
    **changes: Any,
) -> Results:
    """Run a task in one line, as the command line does.

    Args:
        name: of the task, as ``knn``.
        model: anything that ``zoo.load`` takes.
        data: anything that ``zoo.open_source`` takes, or what the task asks for in its place.
        preset: named settings to start from; by default those of the command line.
        on_progress: is called after each batch with a number of images and a word on how it goes.
        changes: settings in place of the preset's.

    Raises:
        SettingsError, DataError, ModelError: before anything is trained.

    Example:
        >>> import downstream.tasks
        >>> results = run_task("knn", "npid-cifar10-small", "digits", k=20, cache=False)
        >>> results.metrics["top1"] > 0.8
        True
    """
    task = TASKS[name]
    config = task.presets[preset or task.default_preset].with_changes(changes)
    config.check()
    inputs = TaskInputs.of(model, data, config)
    return task.run(inputs, config, on_progress)
