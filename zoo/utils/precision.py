"""Where bf16 is fast, and where it is right."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def shrinks_a_pixel(make: Callable[[], nn.Module], size: int) -> bool:
    """Say whether a strided convolution of a backbone sees a single pixel.

    torch's CPU kernels then leave most of the weight's bf16 gradient as the memory was before (seen
    in torch 2.15).

    Args:
        make: builds the backbone; it is called on the meta device, so nothing is computed.
        size: side of the input, pixels.
    """
    sees_a_pixel = []

    def record(module: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        if max(module.kernel_size) > 1 and max(module.stride) > 1:
            sees_a_pixel.append(min(inputs[0].shape[2:]) == 1)

    with torch.device("meta"):
        model = make().eval()
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(record)
        model(torch.empty(2, 3, size, size))
    return any(sees_a_pixel)


def fast_bf16(device: torch.device) -> bool:
    """Say whether the device has instructions for bf16 products."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
