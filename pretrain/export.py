"""From a run folder to a model directory."""

from pathlib import Path

import torch

import zoo
from pretrain import checkpoint
from pretrain.checkpoint import CHECKPOINT
from pretrain.config import from_dict, to_dict
from pretrain.memory_bank import LocalBank
from pretrain.train_state import new_model
from zoo import Backbone
from zoo.models.model_dir import load_strictly


def load_run(run: str | Path) -> tuple[Backbone, LocalBank]:
    """Load a run's backbone and memory bank.

    Args:
        run: A run folder; it may still be training.

    Returns:
        The backbone in eval mode, with what it was made of in ``meta``, and the bank.

    Raises:
        RunError: If there is no checkpoint, or it is not complete.
        ModelError: If the weights do not fit.
    """
    progress = checkpoint.read_progress(run)
    config = from_dict(progress.settings)
    model = new_model(config)
    load_strictly(model, checkpoint.read_tensors(run, "model"), str(Path(run) / CHECKPOINT))
    model.meta = {
        "data": progress.data,
        "epochs": progress.epoch,
        "steps": progress.total,
        "seconds": round(progress.seconds, 1),
        "settings": to_dict(config),
        "versions": progress.versions,
    }
    num_images = progress.data["count"]
    bank = LocalBank.random(num_images, config.embed_dim, seed=0, storage=config.bank_dtype)
    bank.load_state_dict(checkpoint.read_tensors(run, "bank"))
    return model.eval(), bank


def export(
    run: str | Path,
    to: str | Path,
    *,
    with_bank: bool = False,
    replace_old: bool = False,
    half: bool = False,
    license: str | None = None,
) -> Path:
    """Write a run's backbone as a model directory.

    Args:
        run: A run folder; it may still be training.
        to: Absent or empty, unless ``replace_old``.
        with_bank: Whether the memory bank goes along, as fp32 unit rows.
        replace_old: Whether an existing folder is replaced.
        half: Whether the weights are stored in half precision; see :func:`zoo.save`.
        license: Of the weights, as the card and the Hub name it: ``apache-2.0``, say.

    Returns:
        The model directory.

    Raises:
        RunError: If there is no checkpoint, or it is not complete.
        WriteError: If the directory cannot be written.
    """
    model, bank = load_run(run)
    if license:
        model.meta["license"] = license
    rows = bank.lookup(torch.arange(len(bank))).float() if with_bank else None
    return zoo.save(model, to, bank=rows, replace=replace_old, half=half)
