"""How other projects lay out a checkpoint: by which names trunk, projection and bank are found."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from zoo.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay out a checkpoint.

    All fields but ``name`` are regular expressions on dotted names, which start with the keys of
    the wrapper (``state_dict.module.conv1.weight``).

    Attributes:
        name: what to call it in reports.
        trunk: what comes before the network's own names.
        projection: what comes before the tensors of the projection; None where there is none that
            could be used.
        mark: starts some name in this layout; None if finding the trunk is mark enough.
        bank: the memory bank, whole name.
        queue: negatives that are no bank of images, whole name.
        numbering: {number of a module: its name} where the trunk is a plain sequence.
        stem: the stem of networks with a 3×3 first convolution, where the project has its own.
        is_cifar: whether the network was made for CIFAR's images, with their statistics.
    """

    name: str
    trunk: str
    projection: str | None = None
    mark: str | None = None
    bank: str | None = None
    queue: str | None = None
    is_cifar: bool = False
    numbering: Mapping[str, str] = field(default_factory=dict)
    stem: str | None = None

    @property
    def prefix(self) -> str:
        """What comes before the trunk's names, where it is no pattern."""
        return re.sub(r"\\(.)", r"\1", self.trunk)

    def torchvision_name(self, name: str) -> str | None:
        """Name a tensor of the trunk as torchvision does; None for any other tensor."""
        name = unwrapped(name)
        prefix = re.match(self.trunk, name)
        if prefix is None:
            return None
        inner = name[prefix.end() :]
        first, dot, rest = inner.partition(".")
        inner = (self.numbering.get(first, first) + dot + rest).replace(
            ".shortcut.", ".downsample."
        )
        # AlexNet and VGG in parallel: only the convolutions were wrapped
        return inner.replace("features.module.", "features.")

    def projection_pattern(self, projection: str) -> str | None:
        """What comes before the projection of a family that calls it ``projection``.

        The patterns above speak of ResNets, whose projection is ``fc``; other families have it
        inside the trunk, under their own name.
        """
        if self.projection is None or projection == "fc":
            return self.projection
        return self.trunk + re.escape(projection) + r"\."


_LEMNISCATE = r"lemniscate\.(_buffers\.)?memory"
_MOCO = r"state_dict\.(module\.)?encoder_q\."
_VISSL = r"classy_state_dict\.base_model\.model\."
_QUEUE = r"state_dict\.(module\.)?queue"

LAYOUTS = (
    Layout(
        name="authors, CIFAR (lemniscate)",
        trunk=r"net\.(module\.)?",
        projection=r"net\.(module\.)?linear\.",
        bank=_LEMNISCATE,
        is_cifar=True,
    ),
    Layout(
        name="authors, ImageNet (lemniscate)",
        mark=r"lemniscate\.",
        trunk=r"state_dict\.(module\.)?",
        projection=r"state_dict\.(module\.)?fc\.",
        bank=_LEMNISCATE,
    ),
    Layout(name="MoCo v2", mark=_MOCO + r"fc\.2\.", trunk=_MOCO, queue=_QUEUE),
    Layout(name="MoCo v1", trunk=_MOCO, projection=_MOCO + r"fc\.", queue=_QUEUE),
    Layout(
        name="VISSL",
        trunk=_VISSL + r"trunk\.(base_model\.)?(_feature_blocks\.)?",
        projection=_VISSL + r"heads\.0\.clf\.",
        bank=r"classy_state_dict\.loss\.(.*\.)?nce_average\.memory",
    ),
    Layout(
        name="VISSL, converted",
        trunk=r"model_state_dict\.(_feature_blocks\.)?",
        projection=r"model_state_dict\.fc\.",
    ),
    Layout(
        name="mmselfsup",
        mark=r"(state_dict\.(neck|memory_bank)\.|meta$)",
        trunk=r"state_dict\.(backbone\.)?",
        projection=r"state_dict\.neck\.fc\.",
        bank=r"state_dict\.memory_bank\.feature_bank",
    ),
    Layout(
        name="PyContrast",
        trunk=r"model\.(module\.)?encoder\.",
        projection=r"model\.(module\.)?head\.",
        bank=r"contrast\.(module\.)?memory",
    ),
    Layout(
        name="solo-learn / Lightning", trunk=r"state_dict\.(backbone|encoder)\.", stem="cifar-pad2"
    ),
    Layout(
        name="torchvision or timm",
        trunk=r"((state_dict|model|module)\.)*",
        projection=r"((state_dict|model|module)\.)*fc\.",
    ),
)


_WRAPPERS = re.compile(
    r"(?:(?<=\.)|^)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)


def unwrapped(name: str) -> str:
    """A dotted name without what torch.compile and FSDP put into it.

    Example:
        >>> unwrapped("state_dict._orig_mod.layer1.0.conv1.weight")
        'state_dict.layer1.0.conv1.weight'
    """
    return _WRAPPERS.sub("", name)


def recognise(names: Sequence[str], first_weight: str) -> Layout:
    """Find the layout of a checkpoint.

    Args:
        names: dotted names of everything in it.
        first_weight: torchvision's name of the backbone's first weight, which every layout must
            lead to.

    Raises:
        ModelError: if it is none of the known ones.
    """
    for layout in LAYOUTS:
        if _is_marked(layout, names) and _leads_to(layout, names, first_weight):
            return layout
    known = "; ".join(layout.name for layout in LAYOUTS)
    held = ", ".join(names[:6])
    if len(names) > 6:
        held += f" and {len(names) - 6} more"
    raise ModelError(
        f"no layout that leads to {first_weight}: it holds {held or 'no tensors'}. Known layouts: "
        f"{known}"
    )


def _is_marked(layout: Layout, names: Sequence[str]) -> bool:
    return layout.mark is None or any(re.match(layout.mark, name) for name in names)


def _leads_to(layout: Layout, names: Sequence[str], first_weight: str) -> bool:
    return any(layout.torchvision_name(name) == first_weight for name in names)


def find_projection(
    tensors: Mapping[str, Tensor], pattern: str | None, width: int
) -> dict[str, str]:
    """Find the projection in a file: one linear layer, for a head of several (an MLP) is none.

    Args:
        tensors: everything in the file.
        pattern: what comes before its names, see :meth:`Layout.projection_pattern`.
        width: what the projection must read.

    Returns:
        The names of ``weight`` and, where there is one, ``bias``.

    Raises:
        LookupError: that says why there is none.
    """
    if pattern is None:
        raise LookupError("this layout has no projection of one linear layer")
    weights = []
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and re.match(pattern, unwrapped(name)):
            weights.append(name)
    if not weights:
        raise LookupError("the file has no projection")
    if len(weights) > 1:
        raise LookupError(f"its head has {len(weights)} linear layers, not one")
    weight = weights[0]
    inputs = tensors[weight].shape[1]
    if inputs != width:
        raise LookupError(f"its head reads {inputs} values, the backbone gives {width}")
    names = {"weight": weight}
    bias = weight.removesuffix("weight") + "bias"
    if bias in tensors:
        names["bias"] = bias
    return names
