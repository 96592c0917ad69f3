"""The settings of the detection task."""

from dataclasses import dataclass
from pathlib import Path

from downstream.task import TaskConfig, option
from zoo.data.split_names import parse_share
from zoo.errors import SettingsError
from zoo.utils.registry import Registry


@dataclass(frozen=True, kw_only=True)
class DetectConfig(TaskConfig):
    """How a detector is trained and scored.

    Attributes:
        options: detectron2's KEY VALUE pairs, one after the other.
        out: the run folder: checkpoints, config.yaml, data.json, metrics.jsonl, log.txt,
            metrics.json, pictures/.
        config_file: a detectron2 YAML file or the name of a shipped one; by default that of the run
            which goes on, or the small one for the backbone.
        scratch: whether the model's weights are left out, for comparison.
        resume: whether to go on with the run in the folder, or begin it.
        eval_only: whether only to score the run's newest checkpoint.
        pictures: how many test images to draw.
        split: the folder's or detectron2's name of what to train on; by default what the config
            names, or else what the folder has for training.
        test_split: the same for the test split.
        holdout: a share of the training images to score on in place of a test split.
        skip_bad: whether images that cannot be read, or that their annotation does not fit, are
            left out.
    """

    options: tuple[str, ...] = option(
        (),
        "Settings of detectron2, such as SOLVER.MAX_ITER 500.",
        metavar="[KEY VALUE]...",
        positional=True,
    )
    out: Path = option(Path("detect"), "The run folder.", metavar="RUN", recorded=False)
    config_file: str | None = option(
        None, "A detectron2 config, or the name of a shipped one.", metavar="YAML"
    )
    scratch: bool = option(False, "Start from random weights, for comparison.")
    resume: bool = option(False, "Go on with the run in --out, or begin it.")
    eval_only: bool = option(False, "Only score the run's newest checkpoint.")
    pictures: int = option(8, "How many test images to draw.", minimum=0)
    split: str = option(
        "",
        "Split to train on: its name here, or voc_2007_trainval.",
        metavar="NAME",
        recorded=False,
    )
    test_split: str = option("", "Split to score on.", metavar="NAME", recorded=False)
    holdout: str = option(
        "",
        "Score on this share of the training images, in place of a test split: 20%.",
        metavar="SHARE",
        recorded=False,
    )
    skip_bad: bool = option(False, "Leave out images with faults.", hidden=True, recorded=False)

    def faults(self) -> list[str]:
        """What is wrong with the values, a line each."""
        faults = super().faults()
        if len(self.options) % 2:
            faults.append(f"options are KEY VALUE pairs, got {' '.join(self.options)!r}")
        return faults

    def split_faults(self) -> list[str]:
        """What is wrong with the choice of splits, a line each."""
        faults = []
        if self.holdout:
            if self.test_split:
                faults.append("holdout takes the place of a test split: give one of the two")
            try:
                parse_share(self.holdout)
            except SettingsError as error:
                faults.append(str(error))
        elif self.split and self.split == self.test_split:
            faults.append(f"split and test_split are both {self.split}; scores need other images")
        return faults


PRESETS: Registry[DetectConfig] = Registry("detection preset")
PRESETS.register("small")(DetectConfig())
