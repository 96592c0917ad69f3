import torch

import zoo
from zoo.utils.precision import fast_bf16, shrinks_a_pixel


def test_a_pixel_is_shrunk_where_the_input_is_too_small():
    """resnet10's last strided convolution sees a sixteenth of the side; 1×1 do not count."""

    def resnet10() -> zoo.Backbone:
        return zoo.create("resnet10", embed_dim=4, stem="small")

    assert shrinks_a_pixel(resnet10, 8) and not shrinks_a_pixel(resnet10, 16)


def test_devices_without_such_instructions_are_not_fast():
    assert not fast_bf16(torch.device("meta"))
