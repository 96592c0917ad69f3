"""Train and score a detector on a folder: what ``npid detect`` does."""

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

import zoo
from downstream.detection import data as folders
from downstream.detection.config import add_npid_config, adopt, config_file, require_detectron2
from downstream.detection.pictures import draw
from downstream.detection.records import Split
from downstream.results import Results
from zoo import RunError, SettingsError
from zoo.weights import WEIGHTS, read_config, sha256

_TRAIN, _TEST = "npid_train", "npid_test"
_STATE = "last_checkpoint"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Attributes:
        config_file: a detectron2 YAML file or the name of a shipped one; by default the small one for the backbone.
        options: detectron2's KEY VALUE pairs, one after the other.
        scratch: whether the model's weights are left out, for comparison.
        resume: whether to go on with the run in the folder.
        eval_only: whether only to score the run's newest checkpoint.
        pictures: how many test images to draw.
        seed: of everything.
        device: as torch names it.
        workers: processes that read images.
    """

    config_file: str | None = None
    options: tuple[str, ...] = ()
    scratch: bool = False
    resume: bool = False
    eval_only: bool = False
    pictures: int = 8
    seed: int = 0
    device: str = "cpu"
    workers: int = 0


def _default_config(arch: str) -> str:
    return f"small_{arch}" if arch in ("alexnet", "vgg16") else "small_c4"


def _merge(cfg: Any, settings: Settings, model: Path, arch: str) -> None:
    path = config_file(settings.config_file or _default_config(arch))
    try:
        cfg.merge_from_file(str(path))
    except (KeyError, ValueError, AssertionError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: not a config that detectron2 takes ({error})") from error
    adopt(cfg, model)
    if len(settings.options) % 2:
        raise SettingsError(f"options are KEY VALUE pairs, got {' '.join(settings.options)!r}")
    try:
        cfg.merge_from_list(list(settings.options))
    except (KeyError, ValueError, AssertionError, AttributeError, SyntaxError) as error:
        raise SettingsError(f"{' '.join(settings.options)}: {error}") from error


def configure(model: str | Path, data: str | Path, out: Path, settings: Settings) -> tuple[Any, Split, Split]:
    """The frozen detectron2 config of a run, and its data.

    Raises:
        SettingsError, DataError, ModelError: what is wrong with each.
    """
    require_detectron2()
    from detectron2.config import get_cfg

    folder = zoo.locate(model)
    cfg = get_cfg()
    add_npid_config(cfg)
    _merge(cfg, settings, folder, read_config(folder)["arch"])
    train, test = folders.read(data, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    for name, split in ((_TRAIN, train), (_TEST, test)):
        folders.register(name, split)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (_TRAIN,), (_TEST,)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(train.classes)
    if settings.scratch:
        cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE, cfg.SEED, cfg.OUTPUT_DIR = settings.device, settings.seed, str(out)
    cfg.DATALOADER.NUM_WORKERS = settings.workers
    cfg.freeze()
    return cfg, train, test


def _check_run(out: Path, settings: Settings) -> None:
    begun = (out / _STATE).is_file()
    if begun and not (settings.resume or settings.eval_only):
        raise RunError(f"{out} already holds a run; go on with --resume, score it with --eval-only, or choose another")
    if settings.eval_only and not begun:
        raise RunError(f"{out} holds no checkpoint to score; train first")


def run(model: str | Path, data: str, out: str | Path, settings: Settings) -> Results:
    """Train a detector on the training split, score it on the test split, draw pictures.

    Args:
        model: anything that ``zoo.load`` takes.
        data: a VOC folder, a devkit, or a folder with COCO JSON.
        out: the run folder: checkpoints, config.yaml, metrics.jsonl, log.txt, metrics.json, pictures/.
        settings: of the task.

    Returns:
        Metrics ``AP``, ``AP50``, ``AP75`` and ``AP50/CLASS``, 0–1; also appended to metrics.json.

    Raises:
        SettingsError, DataError, ModelError, RunError: before anything is trained.
    """
    began, out = time.monotonic(), Path(out)
    _check_run(out, settings)
    cfg, train, test = configure(model, data, out, settings)
    from detectron2.engine import default_setup

    from downstream.detection.trainer import Trainer, evaluate

    default_setup(cfg, None)
    logging.getLogger("detectron2").info(
        "Classes: %s. Boxes clipped to their image: %d", ", ".join(train.classes), train.clipped + test.clipped
    )
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=settings.resume or settings.eval_only)
    if not settings.eval_only:
        trainer.train()
    metrics, found = evaluate(cfg, trainer.model, _TEST, test)
    for record in test.records[: settings.pictures]:
        draw(record, found[record.id], test.classes, out / "pictures" / f"{record.file.stem}.png")
    results = Results(
        task="detect",
        data=data,
        split_sizes={train.name: len(train.records), test.name: len(test.records)},
        settings={**asdict(settings), "iterations": cfg.SOLVER.MAX_ITER, "batch": cfg.SOLVER.IMS_PER_BATCH},
        metrics=metrics,
        model_sha256=sha256(zoo.locate(model) / WEIGHTS),
        seconds=round(time.monotonic() - began, 1),
    )
    results.append(out / "metrics.json")
    return results
