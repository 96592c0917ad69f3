"""Where bf16 is fast, and where it is right."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def shrinks_a_pixel(make: Callable[[], nn.Module], size: int) -> bool:
    """Whether a strided convolution of a backbone sees a single pixel at this input size: torch's CPU kernels then
    leave most of the weight's bf16 gradient as the memory was before (seen in torch 2.15).
    """
    found = []

    def look(module: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and max(module.stride) > 1:
            found.append(min(inputs[0].shape[2:]) == 1)

    with torch.device("meta"):
        model = make().eval()
        for module in model.modules():
            module.register_forward_hook(look)
        model(torch.empty(2, 3, size, size))
    return any(found)


def fast_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
