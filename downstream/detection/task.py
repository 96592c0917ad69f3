"""Train and score a detector on a folder: what ``npid detect`` does."""

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

import zoo
from downstream.detection import data as folders
from downstream.detection.config import (
    CONFIGS,
    add_npid_config,
    adopt,
    config_file,
    require_detectron2,
)
from downstream.detection.pictures import draw
from downstream.detection.scores import score
from zoo import RunError, SettingsError
from zoo.models.model_dir import WEIGHTS, read_config, sha256
from zoo.results import Results
from zoo.utils.files import folder_lock, write_text
from zoo.utils.signals import Stop

_TRAIN, _TEST = "npid_train", "npid_test"
CONFIG, DATA, _STATE = "config.yaml", "data.json", "last_checkpoint"
# what may be another when a run goes on: where and how long it runs, and what does not touch the weights
_FREE = {
    "MODEL.DEVICE",
    "OUTPUT_DIR",
    "SOLVER.MAX_ITER",
    "SOLVER.CHECKPOINT_PERIOD",
    "DATALOADER.NUM_WORKERS",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Attributes:
        config_file: a detectron2 YAML file or the name of a shipped one; by default that of the run which goes on, or
            the small one for the backbone.
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


def _small(arch: str) -> str:
    return f"small_{arch}" if (CONFIGS / f"small_{arch}.yaml").is_file() else "small_c4"


def _earlier(out: Path, settings: Settings) -> Path | None:
    """The config of the run in the folder, where that run goes on or is scored."""
    again = settings.resume or settings.eval_only
    return out / CONFIG if again and (out / CONFIG).is_file() else None


def configure(model: str | Path, settings: Settings, out: Path) -> Any:
    """The detectron2 config of a run, not frozen, with the data sets that its file names.

    Args:
        model: a model directory or a Hub repository.
        settings: of the task.
        out: the run folder; the config of a run that goes on stands in for the default.

    Raises:
        SettingsError, ModelError: what is wrong with each.
    """
    require_detectron2()
    from detectron2.config import get_cfg

    folder = zoo.locate(model)
    arch = read_config(folder)["arch"]
    cfg = get_cfg()
    add_npid_config(cfg)
    path = config_file(settings.config_file or str(_earlier(out, settings) or _small(arch)))
    try:
        cfg.merge_from_file(str(path))
    except (KeyError, ValueError, AssertionError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: not a config that detectron2 takes ({error})") from error
    adopt(cfg, folder)
    if len(settings.options) % 2:
        raise SettingsError(f"options are KEY VALUE pairs, got {' '.join(settings.options)!r}")
    try:
        cfg.merge_from_list(list(settings.options))
    except (KeyError, ValueError, AssertionError, AttributeError, SyntaxError) as error:
        raise SettingsError(f"{' '.join(settings.options)}: {error}") from error
    if cfg.MODEL.WEIGHTS != str(folder):
        raise SettingsError(
            f"MODEL.WEIGHTS is {cfg.MODEL.WEIGHTS}, but MODEL is {folder}; leave the option out"
        )
    if settings.scratch:
        cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE, cfg.SEED = settings.device, settings.seed
    cfg.DATALOADER.NUM_WORKERS = settings.workers
    return cfg


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def _same_run(out: Path, config: str, data: dict[str, Any], *, network_only: bool) -> None:
    """
    Args:
        network_only: whether only the network and its classes must be the same, as for scoring.

    Raises:
        RunError: if the run in the folder had another config or other data; it lists what differs.
    """
    try:
        old, new = (_flat(yaml.safe_load(text)) for text in ((out / CONFIG).read_text(), config))
        seen = json.loads((out / DATA).read_text())
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise RunError(
            f"{out}: cannot tell how this run began ({error}); begin another in a new --out"
        ) from error
    if network_only:
        old, new = (
            {key: value for key, value in c.items() if key.startswith("MODEL.")} for c in (old, new)
        )
        data = {"classes": data["classes"]}
    differ = [
        f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if key not in _FREE and old.get(key) != new.get(key)
    ]
    differ += [
        f"data: {key} was {seen.get(key)}, is {value}"
        for key, value in data.items()
        if seen.get(key) != value
    ]
    if differ:
        raise RunError(
            f"{out} holds a run that began otherwise; give the options it began with, or choose another --out:\n  "
            + "\n  ".join(differ)
        )


def _check_run(out: Path, settings: Settings) -> None:
    """
    Raises:
        RunError: if there is a run in the folder and none was asked for, or the other way round.
    """
    begun = (out / _STATE).is_file()
    if begun and not (settings.resume or settings.eval_only):
        raise RunError(
            f"{out} already holds a run; go on with --resume, score it with --eval-only, or choose another"
        )
    if settings.eval_only and not begun:
        raise RunError(f"{out} holds no checkpoint to score; train first")


@contextmanager
def _logged(out: Path) -> Iterator[None]:
    """Within the block, detectron2's log goes to log.txt and not to the console."""
    handler = logging.FileHandler(out / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "torch.fx")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # in its anchors
            yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()


def _train(
    cfg: Any, out: Path, settings: Settings, progress: Callable[[int, str], None] | None
) -> Any:
    """The trained detector, or the run's newest one."""
    from detectron2.utils.env import seed_all_rng

    from downstream.detection.trainer import Trainer

    seed_all_rng(settings.seed)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=settings.resume or settings.eval_only)
    if settings.eval_only:
        return trainer.model
    if progress is not None:
        progress(trainer.start_iter * cfg.SOLVER.IMS_PER_BATCH, "")
    with Stop().on_signals() as stop:
        trainer.watch(progress, stop)
        try:
            trainer.train()
        except FloatingPointError as error:
            raise RunError(
                f"{str(error).splitlines()[0]} Nothing was saved of that step; lower SOLVER.BASE_LR, or lengthen "
                f"SOLVER.WARMUP_ITERS, and go on with --resume from the newest checkpoint in {out}"
            ) from error
    return trainer.model


def run(
    model: str | Path,
    data: str,
    out: str | Path,
    settings: Settings,
    progress: Callable[[int, str], None] | None = None,
) -> Results:
    """Train a detector on the training split, score it on the test split, draw pictures.

    Args:
        model: anything that ``zoo.load`` takes.
        data: a VOC folder, a devkit, or a folder with COCO JSON.
        out: the run folder: checkpoints, config.yaml, data.json, metrics.jsonl, log.txt, metrics.json, pictures/.
        settings: of the task.
        progress: told how many images were trained on since the last call, and the loss.

    Returns:
        Metrics ``AP``, ``AP50``, ``AP75`` and ``AP50/CLASS``, 0–1; also appended to metrics.json.

    Raises:
        SettingsError, DataError, ModelError, RunError: what is wrong with each.
    """
    began, out = time.monotonic(), Path(out)
    _check_run(out, settings)
    cfg = configure(model, settings, out)
    train, test = folders.read(data, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.OUTPUT_DIR = len(train.classes), str(out)
    text = cfg.dump()
    about = {
        "classes": train.classes,
        "train": len(train.records),
        "test": len(test.records),
        "digest": folders.digest(train, test),
    }
    if _earlier(out, settings) is not None:
        _same_run(out, text, about, network_only=settings.eval_only)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (_TRAIN,), (_TEST,)
    cfg.freeze()
    folders.register(_TRAIN, train)
    folders.register(_TEST, test)
    with folder_lock(out), _logged(out):
        if not settings.eval_only:
            write_text(out / CONFIG, text)
            write_text(out / DATA, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        for torn in out.glob(".model_*.pth.*"):  # a checkpoint that a killed run had not finished
            torn.unlink()
        detector = _train(cfg, out, settings, progress)
        from downstream.detection.trainer import detect

        found = detect(cfg, detector, _TEST)
    for record in test.records[: settings.pictures]:
        draw(record, found[record.id], test.classes, out / "pictures" / f"{record.file.stem}.png")
    results = Results(
        task="detect",
        data=data,
        split_sizes={train.name: len(train.records), test.name: len(test.records)},
        settings={
            **asdict(settings),
            "iterations": cfg.SOLVER.MAX_ITER,
            "batch": cfg.SOLVER.IMS_PER_BATCH,
        },
        metrics=score(test, found),
        model_sha256=sha256(zoo.locate(model) / WEIGHTS),
        seconds=round(time.monotonic() - began, 1),
        details={"boxes clipped to their image": train.clipped + test.clipped},
    )
    results.append(out / "metrics.json")
    return results
