"""Other projects' checkpoints as model directories, and ours as files that other libraries read."""

import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from zoo.errors import ModelError, SettingsError
from zoo.interop import unpickle
from zoo.interop.layouts import (
    LAYOUTS,
    Layout,
    detectron2_names,
    identity,
    linear_head,
    own_name,
    recognise,
)
from zoo.models import BACKBONES, Backbone, InputSpec, create
from zoo.models.model_dir import (
    load_bank,
    load_directory,
    load_strictly,
    read_tensors,
    save,
    sha256,
)
from zoo.utils.files import write_bytes

FORMATS = ("safetensors", "detectron2", "torchvision")
_CIFAR = InputSpec(
    size=32, crop_pct=1.0, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)
)  # the authors'


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a file.

    Attributes:
        source: what was read.
        layout: how it was laid out.
        arch, stem, dim: the backbone that it holds.
        used: {our name: name in the file}.
        ignored: names in the file without a place in a backbone, such as a queue or an optimizer's state.
        missing: names of ours that the file lacks and that were filled in as the notes say.
        bank: N×D, if there is a memory bank.
        notes: what the reader should know.
        path: what was written.
    """

    source: str
    layout: str
    arch: str
    stem: str
    dim: int
    used: dict[str, str]
    ignored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    bank: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)
    path: Path | None = None

    def lines(self) -> list[str]:
        """The report, one statement a line."""
        bank = (
            f"memory bank: {self.bank[0]} rows of {self.bank[1]}"
            if self.bank
            else "memory bank: none in the file"
        )
        said = [
            f"{self.source}: layout of {self.layout}",
            f"backbone: {self.arch}, {self.stem} stem, {self.dim}-d",
        ]
        said += [f"used: {len(self.used)} tensors", bank]
        for kind, names in (("ignored", self.ignored), ("missing", self.missing)):
            if names:
                said.append(f"{kind}: {len(names)} ({', '.join(_groups(names))})")
        return (
            said
            + [f"note: {note}" for note in self.notes]
            + ([f"written: {self.path}"] if self.path else [])
        )


def _groups(names: list[str]) -> list[str]:
    """Names by their first two parts, each with a count: an optimizer alone has hundreds."""
    counts: dict[str, int] = {}
    for name in names:
        start = ".".join(name.split(".")[:2])
        counts[start] = counts.get(start, 0) + 1
    shown = [start if count == 1 else f"{start}.* ×{count}" for start, count in counts.items()]
    return shown[:8] + ([f"and {len(shown) - 8} more groups"] if len(shown) > 8 else [])


def _flatten(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under its dotted name; containers are entered once, so cycles end."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="))))
    if isinstance(value, Tensor):
        yield name, value
        return
    inner = value.state if isinstance(value, unpickle.StandIn) else value
    if isinstance(inner, list | tuple):
        inner = dict(enumerate(inner))
    if isinstance(inner, dict) and id(value) not in seen:
        seen.add(id(value))
        for key, item in inner.items():
            yield from _flatten(item, f"{name}.{key}" if name else str(key), seen)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors by dotted name, and what else lies at the top of the file."""
    if path.suffix == ".safetensors":
        return read_tensors(path), {}
    content = unpickle.read(path)
    if not isinstance(content, dict):
        raise ModelError(
            f"{path}: holds a {type(content).__name__}; a checkpoint is a dictionary of tensors"
        )
    return dict(_flatten(content, "", set())), {
        key: v for key, v in content.items() if isinstance(key, str)
    }


def _stem(first: Tensor, arch: str, asked: str | None) -> tuple[str, list[str]]:
    """The stem that a first convolution's shape (C×3×K×K) tells, unless one is asked for."""
    if asked is not None:
        return asked, []
    kernels = BACKBONES[arch].stems
    kernel = first.shape[-1] if first.ndim == 4 else None
    candidates = [stem for stem in kernels if kernels[stem] == kernel]
    if not candidates:
        return next(iter(kernels)), []
    notes = []
    if len(candidates) > 1:
        notes.append(
            f"the file does not say the stride of its {kernel}×{kernel} stem; {candidates[0]!r} was taken, "
            "another can be asked for"
        )
    return candidates[0], notes


def _projection(
    tensors: dict[str, Tensor], layout: Layout, family: type[Backbone], width: int
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Weight (D×width) and bias of the projection under our names, their names in the file, and notes."""
    if family.projection != "fc" and layout.head is not None:  # the layouts speak of ResNets
        layout = replace(layout, head=layout.trunk + re.escape(family.projection) + r"\.")
    names, why = linear_head(tensors, layout, width)
    head = {kind: tensors[name] for kind, name in names.items()} or identity(width)
    head.setdefault("bias", torch.zeros(len(head["weight"])))
    what = "the projection is the identity, so the embedding is the pooled features"
    own = {kind: f"{family.projection}.{kind}" for kind in head}
    return (
        {own[kind]: tensor for kind, tensor in head.items()},
        {own[kind]: name for kind, name in names.items()},
        [f"{why}: {what}"] if why else [],
    )


def _memory(tensors: dict[str, Tensor], layout: Layout, dim: int) -> tuple[str | None, list[str]]:
    """The name of the memory bank in the file, and notes."""
    notes = []
    if layout.queue and any(re.fullmatch(layout.queue, name) for name in tensors):
        notes.append(
            "the queue holds negatives in the order of training, not one row per image: it is no memory bank"
        )
    name = next((name for name in tensors if layout.bank and re.fullmatch(layout.bank, name)), None)
    if name and (tensors[name].ndim != 2 or tensors[name].shape[1] != dim):
        shape = tuple(tensors[name].shape)
        return None, [
            *notes,
            f"the memory bank {name} of {shape} does not fit {dim} dimensions: left out",
        ]
    return name, notes


def _like(tensor: Tensor, ours: Tensor | None) -> Tensor:
    return tensor.contiguous() if ours is None else tensor.to(ours.dtype).contiguous()


def _build(
    path: Path, tensors: dict[str, Tensor], layout: Layout, arch: str, asked: str | None
) -> tuple[Backbone, Conversion]:
    """The backbone with the file's tensors, as fp32. Batch counters and the projection may be missing."""
    family = BACKBONES[arch]
    theirs = {own: name for name in tensors if (own := own_name(name, layout)) is not None}
    stem, notes = _stem(tensors[theirs[f"{family.first_conv}.weight"]], arch, asked)
    width = create(arch, embed_dim=1, stem=stem).feature_dim
    head, used, said = _projection(tensors, layout, family, width)
    spec = _CIFAR if layout.name == LAYOUTS[0].name else None
    model = create(arch, embed_dim=len(head[f"{family.projection}.weight"]), stem=stem, input=spec)
    state, parts = model.state_dict(), {name for name, _ in model.named_children()}
    # every tensor of the trunk counts, so that a deeper network is no shallower one with something left over
    trunk = {
        own: name for own, name in theirs.items() if own.split(".")[0] in parts and own not in head
    }
    trunk = {
        own: name for own, name in trunk.items() if not own.startswith(f"{family.projection}.")
    }
    filled = {own: _like(tensors[name], state.get(own)) for own, name in trunk.items()}
    counters = {
        name: torch.zeros_like(t)
        for name, t in state.items()
        if name.endswith("num_batches_tracked")
    }
    load_strictly(
        model, counters | filled | {own: tensor.float() for own, tensor in head.items()}, str(path)
    )
    missing = [name for name in counters if name not in filled] + [
        name for name in head if name not in used
    ]
    report = Conversion(
        source=str(path),
        layout=layout.name,
        arch=arch,
        stem=stem,
        dim=model.embed_dim,
        used=trunk | used,
        missing=missing,
        notes=notes + said,
    )
    return model.eval(), report


def read_checkpoint(
    path: str | Path, *, arch: str | None = None, stem: str | None = None
) -> tuple[Backbone, Tensor | None, Conversion]:
    """The backbone and memory bank (N×D) in another project's checkpoint, in eval mode, with a report.

    Nothing in the file is run. Half precision becomes fp32. Where the file has no projection of one linear layer, the
    projection is the identity: the embedding then is the pooled features.

    Args:
        path: ``torch.save`` file, pickle or safetensors file.
        arch: the backbone; may be left out where the file names it.
        stem: the stem, where the shape of the first convolution does not tell.

    Raises:
        ModelError: if the file cannot be read, is laid out in no known way, or does not fit the backbone.
        SettingsError: if there is no such backbone or stem.
    """
    path = Path(path)
    tensors, others = _read(path)
    said = others.get("arch")
    arch = arch or (said if isinstance(said, str) and said in BACKBONES else None)
    if arch is None:
        raise SettingsError(
            f"{path} does not say which backbone it holds; name it: {', '.join(BACKBONES)}"
        )
    try:
        layout = recognise([*tensors, *others], f"{BACKBONES[arch].first_conv}.weight")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    model, report = _build(path, tensors, layout, arch, stem)
    name, notes = _memory(tensors, layout, model.embed_dim)
    bank = tensors[name].float() if name else None
    model.meta = {"converted": {"layout": layout.name, "file": path.name, "sha256": sha256(path)}}
    params = tensors.get((name or "").removesuffix("memory") + "params")
    if params is not None:  # the authors' [K, temperature, Z, momentum] or [temperature, momentum]
        model.meta["converted"]["bank_params"] = params.flatten().tolist()
    taken = {*report.used.values(), name}
    report = replace(
        report,
        ignored=[name for name in tensors if name not in taken],
        bank=_shape(bank),
        notes=report.notes + notes,
    )
    return model, bank, report


def _shape(bank: Tensor | None) -> tuple[int, int] | None:
    return None if bank is None else (bank.shape[0], bank.shape[1])


def _open(
    source: Path, arch: str | None, stem: str | None
) -> tuple[Backbone, Tensor | None, Conversion]:
    if not source.is_dir():
        return read_checkpoint(source, arch=arch, stem=stem)
    model, bank = load_directory(source), load_bank(source)
    if arch not in (None, model.arch) or stem not in (None, model.stem):
        raise SettingsError(
            f"{source} holds a {model.arch} with {model.stem} stem, not {arch or ''} {stem or ''}".rstrip()
        )
    names = {name: name for name in model.state_dict()}
    report = Conversion(
        source=str(source),
        layout="npid-zoo",
        arch=model.arch,
        stem=model.stem,
        dim=model.embed_dim,
        used=names,
        bank=_shape(bank),
    )
    return model, bank, report


def to_detectron2(model: Backbone) -> bytes:
    """A ``.pkl`` that detectron2's checkpointer loads by name matching.

    Raises:
        SettingsError: for a backbone that detectron2's own ResNet does not have.
    """
    if not model.detectron2_compatible:
        raise SettingsError(
            f"detectron2's ResNet has no {model.arch} with {model.stem} stem; it takes ResNets with the imagenet stem"
        )
    arrays = {name: tensor.numpy() for name, tensor in detectron2_names(model.state_dict()).items()}
    return pickle.dumps(
        {"model": arrays, "__author__": "npid-zoo", "matching_heuristics": True}, protocol=4
    )


def convert(
    source: str | Path,
    to: str | Path,
    *,
    arch: str | None = None,
    stem: str | None = None,
    format: str = "safetensors",
) -> Conversion:
    """Convert a checkpoint of another project, or a model directory, and say what was used, ignored and missing.

    Args:
        source: a checkpoint file in any known layout, or a model directory.
        to: what to write: a folder for ``safetensors``, a file for the others. An existing file is replaced.
        arch, stem: the backbone, where the source does not tell.
        format: ``safetensors`` (a model directory, with the memory bank), ``detectron2`` (a ``.pkl`` for its ResNets)
            or ``torchvision`` (flat safetensors under torchvision's names).

    Raises:
        ModelError: if the source cannot be read or does not fit.
        SettingsError: for an unknown backbone, stem or format, or one that the format cannot hold.
        WriteError: if the result cannot be written; nothing is left behind.
    """
    if format not in FORMATS:
        raise SettingsError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    model, bank, report = _open(Path(source), arch, stem)
    to = Path(to)
    if format == "safetensors":
        save(model, to, bank=bank)
        return replace(report, path=to)
    content = (
        to_detectron2(model)
        if format == "detectron2"
        else to_bytes(model.state_dict(), {"format": "pt"})
    )
    write_bytes(to, content)
    notes = report.notes + (
        ["the memory bank is not part of this format"] if bank is not None else []
    )
    return replace(report, path=to, notes=notes)
