"""Finding a backbone in a file of no known layout: by the prefix under which its tensors fit."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import SettingsError
from zoo.interop.layouts import Layout, unwrapped
from zoo.models import BACKBONES, create

# slowly moving copies of the network that is meant
_COPIES = re.compile(r"(^|\.)(momentum_\w+|\w+_momentum|encoder_k|target_\w+)\.")
_SKIPPED = ("num_batches_tracked",)


def fitting_layouts(tensors: Mapping[str, Tensor], arch: str) -> list[Layout]:
    """Find every prefix under which a file has all tensors of a backbone's trunk, and no others.

    Args:
        tensors: everything in the file by dotted name.
        arch: the backbone.

    Returns:
        A layout for each, the shortest prefix first. Its trunk may also be a plain sequence, whose
        modules have numbers.
    """
    clean_names = [unwrapped(name) for name in tensors]
    layouts: dict[str, Layout] = {}
    for shapes in _trunk_shapes(arch):
        for numbering in shapes.numberings:
            start = _renamed(shapes.first_weight, numbering)
            for name in clean_names:
                if name != start and not name.endswith(f".{start}"):
                    continue
                prefix = name.removesuffix(start)
                layout = _layout(prefix, shapes.projection, numbering)
                if prefix not in layouts and _fits(layout, tensors, shapes):
                    layouts[prefix] = layout
    return [layouts[prefix] for prefix in sorted(layouts, key=len)]


@dataclass(frozen=True)
class _TrunkShapes:
    """What a backbone's trunk must have.

    Attributes:
        first_weight: the name of its first tensor.
        projection: the name of the projection, which is no part of it.
        children: its modules.
        tensors: shape by name, without batch counters.
        numberings: how the modules may be numbered: not, as they follow one another, or without a
            max-pool.
    """

    first_weight: str
    projection: str
    children: frozenset[str]
    tensors: dict[str, torch.Size]
    numberings: list[dict[str, str]]


@functools.cache
def _trunk_shapes(arch: str) -> list[_TrunkShapes]:
    """The trunk's shapes, once for each kernel of the backbone's stems."""
    kernels: dict[int, str] = {}
    for stem, kernel in BACKBONES[arch].stems.items():
        kernels.setdefault(kernel, stem)
    shapes = []
    for stem in kernels.values():
        with torch.device("meta"):  # no memory for its weights
            model = create(arch, embed_dim=1, stem=stem)
        tensors = {}
        for name, tensor in model.state_dict().items():
            if not name.endswith(_SKIPPED) and not name.startswith(f"{model.projection}."):
                tensors[name] = tensor.shape
        names = [name for name, _ in model.named_children()]
        numberings: list[dict[str, str]] = [{}]
        for order in (names, [name for name in names if name != "maxpool"]):
            numberings.append({name: str(number) for number, name in enumerate(order)})
        shapes.append(
            _TrunkShapes(
                first_weight=f"{model.first_conv}.weight",
                projection=model.projection,
                children=frozenset(names) - {model.projection},
                tensors=tensors,
                numberings=numberings,
            )
        )
    return shapes


def _renamed(name: str, numbering: Mapping[str, str]) -> str:
    first, dot, rest = name.partition(".")
    return numbering.get(first, first) + dot + rest


def _layout(prefix: str, projection: str, numbering: Mapping[str, str]) -> Layout:
    pattern = re.escape(prefix)
    return Layout(
        name=f"tensors under {prefix or 'no prefix'!r}, found by their shapes",
        trunk=pattern,
        projection=pattern + re.escape(projection) + r"\.",
        numbering={number: name for name, number in numbering.items()},
    )


def _fits(layout: Layout, tensors: Mapping[str, Tensor], shapes: _TrunkShapes) -> bool:
    """Whether the file has exactly the trunk's tensors where the layout has them."""
    found = {}
    for source, tensor in tensors.items():
        name = layout.torchvision_name(source)
        if name is None or name.endswith(_SKIPPED) or name.startswith(f"{shapes.projection}."):
            continue
        if name.split(".")[0] in shapes.children:
            found[name] = tensor.shape
    return found == shapes.tensors


def choose_layout(layouts: Sequence[Layout], prefix: str | None, source: str) -> Layout:
    """Choose the layout that is asked for, or the only one.

    Args:
        layouts: as :func:`fitting_layouts` found them; at least one.
        prefix: what is asked for; its beginning, such as ``state_dict.``, may lack.
        source: the file, for the message.

    Raises:
        SettingsError: listing the prefixes that fit, unless exactly one is meant.
    """
    candidates = list(layouts)
    if prefix is not None:
        ending = prefix.rstrip(".") + "." if prefix.rstrip(".") else ""
        ending = unwrapped(ending)
        candidates = []
        for layout in layouts:
            if f".{layout.prefix}".endswith(f".{ending}"):
                candidates.append(layout)
        exact = [layout for layout in candidates if layout.prefix == ending]
        candidates = exact or candidates
    elif len(candidates) > 1:
        originals = [layout for layout in candidates if not _COPIES.search(layout.prefix)]
        candidates = originals if len(originals) == 1 else candidates
    if len(candidates) == 1:
        return candidates[0]
    fitting = ", ".join(repr(layout.prefix) for layout in layouts)
    if not candidates:
        raise SettingsError(f"{source}: no backbone under the prefix {prefix!r}; it fits {fitting}")
    raise SettingsError(
        f"{source} holds the backbone more than once; choose with --prefix (prefix=…): {fitting}"
    )


def infer_backbone(tensors: Mapping[str, Tensor], source: str) -> str:
    """Name the backbone whose tensors, with all their shapes, a file has.

    Raises:
        SettingsError: if there is none or more than one; the message lists the names.
    """
    fitting = [arch for arch in BACKBONES if fitting_layouts(tensors, arch)]
    if len(fitting) == 1:
        return fitting[0]
    reason = "and no backbone has its shapes"
    if fitting:
        reason = f"and its shapes fit {', '.join(fitting)}"
    raise SettingsError(
        f"{source} does not say which backbone it holds, {reason}; name it: {', '.join(BACKBONES)}"
    )


def find_layout(
    tensors: Mapping[str, Tensor], arch: str, prefix: str | None, source: str
) -> Layout | None:
    """Find the layout of a backbone by its shapes.

    Raises:
        SettingsError: if a prefix is asked for and nothing fits, or several fit and none is asked
            for.
    """
    layouts = fitting_layouts(tensors, arch)
    if layouts:
        return choose_layout(layouts, prefix, source)
    if prefix is not None:
        raise SettingsError(f"{source}: no {arch} lies in it, under {prefix!r} or any other prefix")
    return None
