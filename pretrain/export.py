"""From a run folder to a model directory."""

from pathlib import Path

import torch

import zoo
from pretrain import checkpoint
from pretrain.checkpoint import CHECKPOINT
from pretrain.config import from_dict
from pretrain.memory_bank import LocalBank, MemoryBank
from pretrain.train_state import new_model
from zoo import Backbone
from zoo.models.model_dir import load_strictly


def load_run(run: str | Path) -> tuple[Backbone, MemoryBank]:
    """The backbone of a run's checkpoint in eval mode, with what it was made of in ``meta``, and the memory bank.

    Raises:
        RunError, ModelError: if there is no checkpoint, or it does not fit.
    """
    at = checkpoint.read_progress(run)
    how = from_dict(at.settings)
    model = new_model(how)
    load_strictly(model, checkpoint.read_tensors(run, "model"), str(Path(run) / CHECKPOINT))
    model.meta = {
        "data": at.data,
        "epochs": at.epoch,
        "steps": at.total,
        "seconds": round(at.seconds, 1),
        "settings": at.settings,
        "versions": at.versions,
    }
    bank = LocalBank.random(at.data["count"], how.embed_dim, seed=0, storage=how.bank_dtype)
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
        run: a run folder; it may still be training.
        to: absent or empty, unless ``replace_old``.
        with_bank: whether the memory bank goes along, as fp32 unit rows.
        half: whether the weights are stored in half precision; see :func:`zoo.save`.
        license: of the weights, as the card and the Hub name it: ``apache-2.0``, say.
    """
    model, bank = load_run(run)
    if license:
        model.meta["license"] = license
    rows = bank.lookup(torch.arange(len(bank))).float() if with_bank else None
    return zoo.save(model, to, bank=rows, replace=replace_old, half=half)
