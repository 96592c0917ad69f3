"""How other projects lay out a checkpoint: where the trunk, the projection and the memory bank are, by name."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay out a checkpoint. All fields but ``name`` are regular expressions on dotted names, which start
    with the keys of the wrapper (``state_dict.module.conv1.weight``).

    Attributes:
        name: what to call it in reports.
        mark: starts some name in this layout; None if finding the trunk is mark enough.
        trunk: what comes before the network's own names.
        head: what comes before the tensors of the projection; None where there is none to be used.
        bank: the memory bank, whole name.
        queue: negatives that are no bank of images, whole name.
    """

    name: str
    trunk: str
    head: str | None = None
    mark: str | None = None
    bank: str | None = None
    queue: str | None = None


_LEMNISCATE = r"lemniscate\.(_buffers\.)?memory"
_MOCO = r"state_dict\.(module\.)?encoder_q\."
_VISSL = r"classy_state_dict\.base_model\.model\."
_QUEUE = r"state_dict\.(module\.)?queue"

LAYOUTS = (
    Layout(
        name="authors, CIFAR (lemniscate)",
        trunk=r"net\.(module\.)?",
        head=r"net\.(module\.)?linear\.",
        bank=_LEMNISCATE,
    ),
    Layout(
        name="authors, ImageNet (lemniscate)",
        mark=r"lemniscate\.",
        trunk=r"state_dict\.(module\.)?",
        head=r"state_dict\.(module\.)?fc\.",
        bank=_LEMNISCATE,
    ),
    Layout(name="MoCo v2", mark=_MOCO + r"fc\.2\.", trunk=_MOCO, queue=_QUEUE),
    Layout(name="MoCo v1", trunk=_MOCO, head=_MOCO + r"fc\.", queue=_QUEUE),
    Layout(
        name="VISSL",
        trunk=_VISSL + r"trunk\.(base_model\.)?(_feature_blocks\.)?",
        head=_VISSL + r"heads\.0\.clf\.",
        bank=r"classy_state_dict\.loss\.(.*\.)?nce_average\.memory",
    ),
    Layout(
        name="VISSL, converted",
        trunk=r"model_state_dict\.(_feature_blocks\.)?",
        head=r"model_state_dict\.fc\.",
    ),
    Layout(
        name="mmselfsup",
        mark=r"(state_dict\.(neck|memory_bank)\.|meta$)",
        trunk=r"state_dict\.(backbone\.)?",
        head=r"state_dict\.neck\.fc\.",
        bank=r"state_dict\.memory_bank\.feature_bank",
    ),
    Layout(
        name="PyContrast",
        trunk=r"model\.(module\.)?encoder\.",
        head=r"model\.(module\.)?head\.",
        bank=r"contrast\.(module\.)?memory",
    ),
    Layout(name="solo-learn / Lightning", trunk=r"state_dict\.(backbone|encoder)\."),
    Layout(
        name="torchvision or timm",
        trunk=r"((state_dict|model|module)\.)*",
        head=r"((state_dict|model|module)\.)*fc\.",
    ),
)


def own_name(name: str, layout: Layout) -> str | None:
    """Torchvision's name of a tensor of the trunk, or None for any other tensor."""
    match = re.match(layout.trunk, name)
    if match is None:
        return None
    own = name[match.end() :].replace(".shortcut.", ".downsample.")
    return own.replace(
        "features.module.", "features."
    )  # AlexNet and VGG in parallel: the trunk alone was wrapped


def recognise(names: list[str], first: str) -> Layout:
    """The layout of a checkpoint.

    Args:
        names: dotted names of everything in it.
        first: the backbone's own name of its first weight, which every layout must lead to.

    Raises:
        ModelError: if it is none of the known ones.
    """
    for layout in LAYOUTS:
        marked = layout.mark is None or any(re.match(layout.mark, name) for name in names)
        if marked and any(own_name(name, layout) == first for name in names):
            return layout
    known = "; ".join(layout.name for layout in LAYOUTS)
    found = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise ModelError(
        f"no layout that leads to {first}: it holds {found or 'no tensors'}. Known layouts: {known}"
    )


def linear_head(
    tensors: dict[str, Tensor], layout: Layout, width: int
) -> tuple[dict[str, str], str | None]:
    """The names of the projection's weight and bias in the file, and why there are none.

    Args:
        width: what the projection must read; more than one linear layer (an MLP head) is no projection.
    """
    if layout.head is None:
        return {}, "this layout has no projection of one linear layer"
    found = [name for name in tensors if re.match(layout.head, name)]
    weights = [name for name in found if tensors[name].ndim == 2]
    if not weights:
        return {}, "the file has no projection"
    if len(weights) > 1:
        return {}, f"its head has {len(weights)} linear layers, not one"
    if tensors[weights[0]].shape[1] != width:
        return (
            {},
            f"its head reads {tensors[weights[0]].shape[1]} values, the backbone gives {width}",
        )
    bias = weights[0].removesuffix("weight") + "bias"
    return {"weight": weights[0]} | ({"bias": bias} if bias in tensors else {}), None


def detectron2_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A ResNet's tensors under detectron2's names. The projection and batch counters have no place there.

    Source: the names that ``detectron2/modeling/backbone/resnet.py`` gives its layers.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        own = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        own = re.sub(r"\bbn(\d)", r"conv\1.norm", own)
        own = re.sub(r"\blayer(\d)", lambda m: f"res{int(m[1]) + 1}", own)
        renamed[own if "layer" in name else f"stem.{own}"] = tensor
    return renamed


def identity(width: int) -> dict[str, Tensor]:
    """A projection that hands its input on: the embedding is then the pooled features themselves."""
    return {"weight": torch.eye(width), "bias": torch.zeros(width)}
