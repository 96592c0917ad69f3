"""A run folder of the detection task: opening it, training in it, and what a detector sees."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from downstream.detection.annotations import DetectionSplit
from downstream.detection.config import DetectConfig
from downstream.detection.data import digest, read_splits, register
from downstream.detection.detectron2_config import (
    adopt,
    config_file,
    default_config,
    require_detectron2,
)
from downstream.detection.pictures import draw
from downstream.detection.registration import add_npid_config
from downstream.detection.scores import Detections
from downstream.task import OnProgress
from zoo.data.split_names import parse_share
from zoo.errors import RunError, SettingsError
from zoo.models.model_dir import read_config
from zoo.utils.files import folder_lock, write_text
from zoo.utils.nested import flatten_dict
from zoo.utils.signals import Stop

CONFIG = "config.yaml"
DATA = "data.json"
_LAST_CHECKPOINT = "last_checkpoint"
_TRAIN = "npid_train"
_TEST = "npid_test"
# what may be another when a run goes on: where and how long it runs, and what does not touch the
# weights
_MAY_CHANGE = {
    "MODEL.DEVICE",
    "OUTPUT_DIR",
    "SOLVER.MAX_ITER",
    "SOLVER.CHECKPOINT_PERIOD",
    "DATALOADER.NUM_WORKERS",
}


@dataclass(frozen=True, kw_only=True)
class DetectionRun:
    """A run that is ready to train or to score.

    Attributes:
        folder: where everything is written.
        cfg: detectron2's config, frozen, with the data sets registered under names of ours.
        config_yaml: the config as the run folder keeps it, with the data sets of its file.
        data_summary: classes, number of images and digest, as the run folder keeps them.
        train: the split to train on.
        test: the split to score on.
    """

    folder: Path
    cfg: Any
    config_yaml: str
    data_summary: dict[str, Any]
    train: DetectionSplit
    test: DetectionSplit

    @property
    def split_sizes(self) -> dict[str, int]:
        """Images by the split's name."""
        return {
            self.train.name: len(self.train.images),
            self.test.name: len(self.test.images),
        }


def build_config(model_dir: Path, config: DetectConfig) -> Any:
    """Build the detectron2 config of a run.

    Args:
        model_dir: a model directory.
        config: of the task; the config of a run that goes on stands in for the default.

    Returns:
        A config that is not frozen, with the data sets that its file names.

    Raises:
        SettingsError, ModelError: what is wrong with each.
    """
    require_detectron2()
    from detectron2.config import get_cfg

    arch = read_config(model_dir)["arch"]
    cfg = get_cfg()
    add_npid_config(cfg)
    path = config_file(config.config_file or str(_earlier_config(config) or default_config(arch)))
    try:
        cfg.merge_from_file(str(path))
    except (KeyError, ValueError, AssertionError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: not a config that detectron2 takes ({error})") from error
    adopt(cfg, model_dir)
    try:
        cfg.merge_from_list(list(config.options))
    except (KeyError, ValueError, AssertionError, AttributeError, SyntaxError) as error:
        raise SettingsError(f"{' '.join(config.options)}: {error}") from error
    if cfg.MODEL.WEIGHTS != str(model_dir):
        raise SettingsError(
            f"MODEL.WEIGHTS is {cfg.MODEL.WEIGHTS}, but MODEL is {model_dir}; leave the option out"
        )
    if config.split:
        cfg.DATASETS.TRAIN = (config.split,)
    if config.test_split:
        cfg.DATASETS.TEST = (config.test_split,)
    if config.scratch:
        cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = config.device
    cfg.SEED = config.seed
    cfg.DATALOADER.NUM_WORKERS = config.workers
    return cfg


def open_run(model_dir: Path, data: str, config: DetectConfig) -> DetectionRun:
    """Read the config and the data of a run, and check both against what its folder holds.

    Nothing is written. The data sets become known to detectron2.

    Args:
        model_dir: a model directory.
        data: a VOC folder, a devkit, or a folder with COCO JSON.
        config: of the task.

    Raises:
        SettingsError, DataError, ModelError, RunError: what is wrong with each.
    """
    _check_folder(config)
    cfg = build_config(model_dir, config)
    train, test = read_splits(
        data,
        cfg.DATASETS.TRAIN,
        cfg.DATASETS.TEST,
        holdout=parse_share(config.holdout) if config.holdout else None,
        skip_bad=config.skip_bad,
    )
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(train.classes)
    cfg.OUTPUT_DIR = str(config.out)
    config_yaml = cfg.dump()
    data_summary = {
        "classes": train.classes,
        "train": len(train.images),
        "test": len(test.images),
        "digest": digest(train, test),
    }
    if _earlier_config(config) is not None:
        _check_unchanged(config.out, config_yaml, data_summary, network_only=config.eval_only)
    cfg.DATASETS.TRAIN = (_TRAIN,)
    cfg.DATASETS.TEST = (_TEST,)
    cfg.freeze()
    register(_TRAIN, train)
    register(_TEST, test)
    return DetectionRun(
        folder=config.out,
        cfg=cfg,
        config_yaml=config_yaml,
        data_summary=data_summary,
        train=train,
        test=test,
    )


def train_and_detect(
    run: DetectionRun, config: DetectConfig, on_progress: OnProgress | None
) -> dict[str, Detections]:
    """Train the detector, or load the run's newest one, and use it on the test split.

    Args:
        run: opened with this config.
        config: of the task.
        on_progress: is called after each iteration.

    Returns:
        What it sees, by image id.

    Raises:
        RunError: if another process trains here, or the loss is no longer finite.
        Stopped: when a signal ends the run.
    """
    with folder_lock(run.folder), _log_to_file(run.folder):
        if not config.eval_only:
            summary = json.dumps(run.data_summary, indent=2, ensure_ascii=False)
            write_text(run.folder / CONFIG, run.config_yaml)
            write_text(run.folder / DATA, summary + "\n")
        for torn in run.folder.glob(".model_*.pth.*"):  # not finished when a run was killed
            torn.unlink()
        detector = _train(run, config, on_progress)
        from downstream.detection.trainer import detect

        return detect(run.cfg, detector, _TEST)


def draw_pictures(run: DetectionRun, detections: Mapping[str, Detections], count: int) -> None:
    """Draw the first test images into ``pictures/``, truth and detections side by side."""
    for image in run.test.images[:count]:
        path = run.folder / "pictures" / f"{image.path.stem}.png"
        draw(image, detections[image.id], run.test.classes, path)


def _earlier_config(config: DetectConfig) -> Path | None:
    """The config of the run in the folder, where that run goes on or is scored."""
    path = config.out / CONFIG
    continues = config.resume or config.eval_only
    return path if continues and path.is_file() else None


def _check_folder(config: DetectConfig) -> None:
    """Check that the folder holds a run if one is to go on, and none otherwise.

    Raises:
        RunError: saying what to do instead.
    """
    begun = (config.out / _LAST_CHECKPOINT).is_file()
    if begun and not (config.resume or config.eval_only):
        raise RunError(
            f"{config.out} already holds a run; go on with --resume, score it with --eval-only, or "
            "choose another"
        )
    if config.eval_only and not begun:
        raise RunError(f"{config.out} holds no checkpoint to score; train first")


def _check_unchanged(
    folder: Path, config_yaml: str, data_summary: dict[str, Any], *, network_only: bool
) -> None:
    """Check that the run in the folder had the same config and the same data.

    Args:
        folder: of the run.
        config_yaml: what it would be now.
        data_summary: what it would be now.
        network_only: whether only the network and its classes must be the same, as for scoring.

    Raises:
        RunError: listing what differs.
    """
    try:
        old = flatten_dict(yaml.safe_load((folder / CONFIG).read_text()))
        old_data = json.loads((folder / DATA).read_text())
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise RunError(
            f"{folder}: cannot tell how this run began ({error}); begin another in a new --out"
        ) from error
    new = flatten_dict(yaml.safe_load(config_yaml))
    differences = []
    for key in sorted(old.keys() | new.keys()):
        matters = key not in _MAY_CHANGE and (key.startswith("MODEL.") or not network_only)
        if matters and old.get(key) != new.get(key):
            differences.append(f"{key} was {old.get(key)!r}, is {new.get(key)!r}")
    for key, value in data_summary.items():
        matters = key == "classes" or not network_only
        if matters and old_data.get(key) != value:
            differences.append(f"data: {key} was {old_data.get(key)}, is {value}")
    if differences:
        raise RunError(
            f"{folder} holds a run that began otherwise; give the options it began with, or choose "
            "another --out:\n  " + "\n  ".join(differences)
        )


def _train(run: DetectionRun, config: DetectConfig, on_progress: OnProgress | None) -> Any:
    """The trained detector, or the run's newest one."""
    from detectron2.utils.env import seed_all_rng

    from downstream.detection.trainer import Trainer

    seed_all_rng(config.seed)
    trainer = Trainer(run.cfg)
    trainer.resume_or_load(resume=config.resume or config.eval_only)
    if config.eval_only:
        return trainer.model
    if on_progress is not None:
        on_progress(trainer.start_iter * run.cfg.SOLVER.IMS_PER_BATCH, "")
    with Stop().on_signals() as stop:
        trainer.report_to(on_progress, stop)
        try:
            trainer.train()
        except FloatingPointError as error:
            raise RunError(
                f"{str(error).splitlines()[0]} Nothing was saved of that step; lower "
                "SOLVER.BASE_LR, or lengthen SOLVER.WARMUP_ITERS, and go on with --resume from the "
                f"newest checkpoint in {run.folder}"
            ) from error
    return trainer.model


@contextmanager
def _log_to_file(folder: Path) -> Iterator[None]:
    """Within the block, detectron2's log goes to log.txt and not to the console."""
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "torch.fx")]
    settings = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # in its anchors
            yield
    finally:
        for logger, (level, propagate) in zip(loggers, settings, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()
