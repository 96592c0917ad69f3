"""Backbones and memory banks out of other projects' checkpoints."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ModelError, SettingsError
from zoo.interop import unpickle
from zoo.interop.content import SAFETENSORS, recognise_content
from zoo.interop.conversion import Conversion
from zoo.interop.layouts import Layout, find_projection, recognise
from zoo.interop.trunks import find_layout, infer_backbone
from zoo.models import BACKBONES, Backbone, InputSpec, create
from zoo.models.model_dir import load_strictly, read_tensors, sha256
from zoo.utils.files import format_bytes
from zoo.utils.nested import dotted

# the statistics in cifar.py of zhirongw/lemniscate.pytorch
CIFAR_INPUT = InputSpec(
    size=32, crop_pct=1.0, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)
)

_MAX_SHARING = 8  # how many times the file's size all tensors may have
_MAX_BANK_PARAMS = 16  # numbers beside a bank


def read_checkpoint(
    path: str | Path,
    *,
    arch: str | None = None,
    stem: str | None = None,
    prefix: str | None = None,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[Backbone, Tensor | None, Conversion]:
    """Read the backbone and the memory bank in another project's checkpoint.

    Nothing in the file is run. Half precision becomes fp32. Where the file has no projection of one
    linear layer, the projection is the identity: the embedding then is the pooled features.

    Args:
        path: ``torch.save`` file, pickle or safetensors file.
        arch: the backbone; may be left out where the file names it, or its shapes do.
        stem: the stem, where the shape of the first convolution does not tell.
        prefix: what comes before the backbone's names, where the file holds several.
        size: side of the images that it was trained on, pixels.
        mean: of the three RGB channels, 0–1, that images were normalised with.
        std: their standard deviation.

    Returns:
        The backbone in eval mode, the bank (N×D) or None, and a report.

    Raises:
        ModelError: if the file cannot be read, is laid out in no known way, or does not fit the
            backbone.
        SettingsError: if there is no such backbone or stem.
    """
    path = Path(path)
    tensors, entries = _read_file(path)
    if arch is None:
        arch = _named_backbone(entries)
    if arch is None:
        arch = infer_backbone(tensors, str(path))
    layout = _layout(path, tensors, entries, arch, prefix)
    given = _GivenInput(size, mean, std)
    given.check()
    model, report = _build(path, tensors, layout, arch, stem, given)

    bank_name, bank_notes = _find_bank(tensors, layout, model.embed_dim)
    bank = tensors[bank_name].float() if bank_name else None
    model.meta = {"converted": {"layout": layout.name, "file": path.name, "sha256": sha256(path)}}
    # beside the authors' bank: [K, temperature, Z, momentum] or [temperature, momentum]
    bank_params = tensors.get((bank_name or "").removesuffix("memory") + "params")
    if bank_params is not None and bank_params.numel() <= _MAX_BANK_PARAMS:
        model.meta["converted"]["bank_params"] = bank_params.flatten().tolist()

    assumptions = [] if layout.is_cifar else given.assumptions(model.input)
    used = {*report.used.values(), bank_name}
    report = replace(
        report,
        ignored=[name for name in tensors if name not in used],
        bank=bank_shape(bank),
        notes=report.notes + bank_notes + assumptions,
    )
    return model, bank, report


def _layout(
    path: Path, tensors: dict[str, Tensor], entries: dict[str, Any], arch: str, prefix: str | None
) -> Layout:
    """The known layout of a file, or else one found by the shapes of its tensors."""
    if prefix is not None:
        layout = find_layout(tensors, arch, prefix, str(path))
        assert layout is not None
        return layout
    try:
        return recognise([*tensors, *entries], f"{BACKBONES[arch].first_conv}.weight")
    except ModelError as error:
        layout = find_layout(tensors, arch, None, str(path))
        if layout is not None:
            return layout
        raise ModelError(f"{path}: {error}") from error


@dataclass(frozen=True)
class _GivenInput:
    """What the user says of the images that a backbone expects; None where nothing.

    Attributes:
        size: side in pixels.
        mean: of the RGB channels.
        std: their standard deviation.
    """

    size: int | None
    mean: Sequence[float] | None
    std: Sequence[float] | None

    def check(self) -> None:
        """Check every value.

        Raises:
            SettingsError: for values that cannot be.
        """
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != 3:
                raise SettingsError(f"{name} takes three numbers, got {len(values)}")
        if self.size is not None and self.size < 1:
            raise SettingsError(f"size must be at least 1 pixel, got {self.size}")
        if self.std is not None and min(self.std) <= 0:
            raise SettingsError("std must be above 0")

    def applied_to(self, spec: InputSpec) -> InputSpec:
        """The input with what is given in place of what was assumed."""
        if self.size is not None:
            spec = replace(spec, size=self.size)
        if self.mean is not None:
            red, green, blue = self.mean
            spec = replace(spec, mean=(red, green, blue))
        if self.std is not None:
            red, green, blue = self.std
            spec = replace(spec, std=(red, green, blue))
        return spec

    def assumptions(self, spec: InputSpec) -> list[str]:
        """A note on what is assumed as ``spec`` has it, if anything is."""
        assumed = []
        if self.size is None:
            assumed.append(f"images of {spec.size} pixels (--size)")
        if self.mean is None:
            assumed.append(f"a mean of {_numbers(spec.mean)} (--mean)")
        if self.std is None:
            assumed.append(f"a standard deviation of {_numbers(spec.std)} (--std)")
        if not assumed:
            return []
        return [f"the file does not say what its images were like; assumed: {'; '.join(assumed)}"]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def bank_shape(bank: Tensor | None) -> tuple[int, int] | None:
    """Rows and dimensions of a memory bank, if there is one."""
    return None if bank is None else (bank.shape[0], bank.shape[1])


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors by dotted name, and what else lies at the top of the file."""
    if recognise_content(path) == SAFETENSORS:
        return read_tensors(path), {}
    content = unpickle.read(path)
    if not isinstance(content, dict):
        raise ModelError(
            f"{path}: holds a {type(content).__name__}; a checkpoint is a dictionary of tensors"
        )
    tensors: dict[str, Tensor] = {}
    try:
        _collect_tensors(content, "", tensors, set())
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: is no checkpoint of tensors by names: {error}") from error
    total = sum(tensor.nbytes for tensor in tensors.values())
    if total > _MAX_SHARING * path.stat().st_size:
        raise ModelError(
            f"{path}: its tensors would take {format_bytes(total)}, many times the file, for "
            "they share what they are made of; save it again with tensors of their own"
        )
    return tensors, {key: value for key, value in content.items() if isinstance(key, str)}


def _collect_tensors(value: Any, name: str, tensors: dict[str, Tensor], seen: set[int]) -> None:
    """Add every tensor under its dotted name; containers are entered once, so that cycles end."""
    if isinstance(value, np.ndarray):
        native = value.astype(value.dtype.newbyteorder("="))
        value = torch.from_numpy(np.ascontiguousarray(native))
    if isinstance(value, Tensor):
        tensors[name] = value
        return
    content = value.state if isinstance(value, unpickle.StandIn) else value
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or id(value) in seen:
        return
    seen.add(id(value))
    for key, item in content.items():
        _collect_tensors(item, dotted(name, key), tensors, seen)


def _named_backbone(entries: dict[str, Any]) -> str | None:
    """The backbone that a file names, as the authors' and MoCo's scripts do."""
    arch = entries.get("arch")
    return arch if isinstance(arch, str) and arch in BACKBONES else None


def _build(
    path: Path,
    tensors: dict[str, Tensor],
    layout: Layout,
    arch: str,
    stem: str | None,
    given: "_GivenInput",
) -> tuple[Backbone, Conversion]:
    """The backbone with the file's tensors, as fp32, and the report on them.

    Batch counters and the projection may be missing.
    """
    family = BACKBONES[arch]
    names = _trunk_names(tensors, layout)
    stem, notes = _choose_stem(
        tensors[names[f"{family.first_conv}.weight"]], arch, stem, layout.stem
    )
    width = create(arch, embed_dim=1, stem=stem).feature_dim
    projection = _projection(tensors, layout, family.projection, width)
    input = CIFAR_INPUT if layout.is_cifar else family.default_input(stem)
    input = given.applied_to(input)
    model = create(arch, embed_dim=projection.embed_dim, stem=stem, input=input)

    state = model.state_dict()
    parts = {name.split(".")[0] for name in state}
    used = {}
    loaded = {}
    missing = []
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked") and name not in names:
            loaded[name] = torch.zeros_like(tensor)
            missing.append(name)
    # every tensor of the trunk counts, so that a deeper network is no shallower one with a rest
    for name, source in names.items():
        belongs = name.split(".")[0] in parts and not name.startswith(f"{family.projection}.")
        if belongs:
            dtype = state[name].dtype if name in state else tensors[source].dtype
            loaded[name] = tensors[source].to(dtype).contiguous()
            used[name] = source
    for name, tensor in projection.tensors.items():
        loaded[name] = tensor.float()
        if name not in projection.sources:
            missing.append(name)
    load_strictly(model, loaded, str(path))
    report = Conversion(
        source=str(path),
        layout=layout.name,
        arch=arch,
        stem=stem,
        embed_dim=model.embed_dim,
        used=used | projection.sources,
        missing=missing,
        notes=notes + projection.notes,
    )
    return model.eval(), report


def _trunk_names(tensors: dict[str, Tensor], layout: Layout) -> dict[str, str]:
    """{torchvision's name: name in the file} of whatever lies where the layout has its trunk."""
    names = {}
    for source in tensors:
        name = layout.torchvision_name(source)
        if name is not None:
            names[name] = source
    return names


def _choose_stem(
    first_weight: Tensor, arch: str, requested: str | None, usual: str | None
) -> tuple[str, list[str]]:
    """The stem that the first convolution's shape (C×3×K×K) tells, unless one is requested."""
    if requested is not None:
        return requested, []
    kernels = BACKBONES[arch].stems
    kernel = first_weight.shape[-1] if first_weight.ndim == 4 else None
    candidates = [stem for stem in kernels if kernels[stem] == kernel]
    if not candidates:
        return next(iter(kernels)), []
    chosen = usual if usual in candidates else candidates[0]
    notes = []
    if len(candidates) > 1:
        notes.append(
            f"the file does not say the stride and padding of its {kernel}×{kernel} stem; "
            f"{chosen!r} was taken, another can be asked for (--stem: {', '.join(candidates)})"
        )
    return chosen, notes


@dataclass(frozen=True)
class _Projection:
    """The last linear layer, from the file or made.

    Attributes:
        tensors: weight (D×F) and bias (D) under our names.
        sources: {our name: name in the file} of those that come from it.
        notes: why there is none in the file, if so.
        embed_dim: D.
    """

    tensors: dict[str, Tensor]
    sources: dict[str, str]
    notes: list[str]
    embed_dim: int


def _projection(tensors: dict[str, Tensor], layout: Layout, name: str, width: int) -> _Projection:
    """The projection of a family that calls it ``name`` and reads ``width`` values."""
    notes = []
    sources = {}
    try:
        found = find_projection(tensors, layout.projection_pattern(name), width)
    except LookupError as reason:
        weight = torch.eye(width)
        notes.append(
            f"{reason}: the projection is the identity, so the embedding is the pooled features"
        )
    else:
        weight = tensors[found["weight"]]
        sources = {f"{name}.{kind}": source for kind, source in found.items()}
    bias = torch.zeros(len(weight))
    if f"{name}.bias" in sources:
        bias = tensors[sources[f"{name}.bias"]]
    return _Projection(
        tensors={f"{name}.weight": weight, f"{name}.bias": bias},
        sources=sources,
        notes=notes,
        embed_dim=len(weight),
    )


def _find_bank(
    tensors: dict[str, Tensor], layout: Layout, embed_dim: int
) -> tuple[str | None, list[str]]:
    """The name of the memory bank in the file, and notes."""
    notes = []
    if _first_match(tensors, layout.queue) is not None:
        notes.append(
            "the queue holds negatives in the order of training, not one row per image: it is no "
            "memory bank"
        )
    name = _first_match(tensors, layout.bank)
    if name is None:
        return None, notes
    shape = tuple(tensors[name].shape)
    if len(shape) != 2 or shape[1] != embed_dim:
        notes.append(
            f"the memory bank {name} of {shape} does not fit {embed_dim} dimensions: left out"
        )
        return None, notes
    return name, notes


def _first_match(tensors: dict[str, Tensor], pattern: str | None) -> str | None:
    """The first name that a pattern matches as a whole."""
    if pattern is None:
        return None
    for name in tensors:
        if re.fullmatch(pattern, name):
            return name
    return None
