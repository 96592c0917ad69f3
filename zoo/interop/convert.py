"""Other projects' checkpoints as model directories, and models as files of other libraries."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from zoo.errors import SettingsError
from zoo.interop.checkpoint import bank_shape, read_checkpoint
from zoo.interop.conversion import Conversion
from zoo.interop.detectron2 import to_detectron2
from zoo.models import Backbone
from zoo.models.model_dir import load_bank, load_directory, save
from zoo.utils.files import write_bytes

FORMATS = ("safetensors", "detectron2", "torchvision")


def convert(
    source: str | Path,
    to: str | Path,
    *,
    arch: str | None = None,
    stem: str | None = None,
    prefix: str | None = None,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    format: str = "safetensors",
) -> Conversion:
    """Convert a checkpoint of another project, or a model directory.

    Args:
        source: a checkpoint file in any known layout, or a model directory.
        to: what to write: a folder for ``safetensors``, a file for the others. An existing file is
            replaced.
        arch: the backbone, where the source does not tell.
        stem: its stem, where the source does not tell.
        prefix: what comes before the backbone's names, where the file holds several.
        size: side of the images that it was trained on, pixels, where the source does not tell.
        mean: of the RGB channels, 0–1, where the source does not tell.
        std: their standard deviation, where the source does not tell.
        format: ``safetensors`` (a model directory, with the memory bank), ``detectron2`` (a
            ``.pkl`` for its ResNets) or ``torchvision`` (flat safetensors under torchvision's
            names).

    Returns:
        What was used, ignored and missing.

    Raises:
        ModelError: if the source cannot be read or does not fit.
        SettingsError: for an unknown backbone, stem or format, or one that the format cannot hold.
        WriteError: if the result cannot be written; nothing is left behind.
    """
    if format not in FORMATS:
        raise SettingsError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    source = Path(source)
    to = Path(to)
    if source.is_dir():
        model, bank, report = _read_directory(source, arch, stem)
    else:
        model, bank, report = read_checkpoint(
            source, arch=arch, stem=stem, prefix=prefix, size=size, mean=mean, std=std
        )

    _check_suffix(to, format)
    if format == "safetensors":
        save(model, to, bank=bank)
        return replace(report, path=to)
    if format == "detectron2":
        write_bytes(to, to_detectron2(model))
    else:
        write_bytes(to, safetensors_bytes(model.state_dict(), {"format": "pt"}))
    notes = list(report.notes)
    if bank is not None:
        notes.append("the memory bank is not part of this format")
    return replace(report, path=to, notes=notes)


def _check_suffix(to: Path, format: str) -> None:
    """Other libraries tell a file's format by its suffix: refuse one that says another.

    Raises:
        SettingsError: naming the suffix that fits.
    """
    suffixes = {"detectron2": ".pkl", "torchvision": ".safetensors"}
    expected = suffixes.get(format)
    if expected is not None and to.suffix != expected:
        raise SettingsError(
            f"{to}: a file in the format {format} ends in {expected}, or what reads it takes it "
            f"for another kind of file; write {to.with_suffix(expected).name}"
        )


def _read_directory(
    directory: Path, arch: str | None, stem: str | None
) -> tuple[Backbone, Tensor | None, Conversion]:
    """A model directory of ours, with the report that a checkpoint would get."""
    model = load_directory(directory)
    bank = load_bank(directory)
    if arch not in (None, model.arch) or stem not in (None, model.stem):
        requested = f"{arch or ''} {stem or ''}".rstrip()
        raise SettingsError(
            f"{directory} holds a {model.arch} with {model.stem} stem, not {requested}"
        )
    report = Conversion(
        source=str(directory),
        layout="npid-zoo",
        arch=model.arch,
        stem=model.stem,
        embed_dim=model.embed_dim,
        used={name: name for name in model.state_dict()},
        bank=bank_shape(bank),
    )
    return model, bank, report
