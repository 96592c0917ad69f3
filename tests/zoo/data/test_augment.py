import colorsys

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as F

from zoo.data.augment import Augmentation, Augmenter, crop

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def images(count, side=32):
    return torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.manual_seed(0)
    )


def test_a_draw_depends_on_seed_epoch_and_index_alone():
    augment, x, index = (
        Augmenter(Augmentation(size=32), MEAN, STD, seed=3),
        images(8),
        torch.arange(8),
    )
    whole = augment(x, 1, index)
    order = torch.tensor([5, 0, 7])
    torch.testing.assert_close(augment(x[order], 1, index[order]), whole[order])
    assert not torch.equal(augment(x, 2, index), whole)
    assert not torch.equal(Augmenter(Augmentation(size=32), MEAN, STD, seed=4)(x, 1, index), whole)


@pytest.mark.parametrize("side", [32, 48])  # of small images the filters are looked up
def test_crop_equals_torchvision(side):
    augment, x = Augmenter(Augmentation(), MEAN, STD, seed=0), images(32, side)
    side = torch.full((32,), side)
    boxes, flip = augment.boxes(augment.draws(0, torch.arange(32)), side, side)
    for size in (24, 64):  # shrinking (antialiased) and enlarging
        ours = crop(x, boxes, flip, size)
        for image, box, turned, out in zip(x, boxes.long().tolist(), flip, ours, strict=True):
            expected = F.resized_crop(image.float(), *box, [size, size], antialias=True)
            torch.testing.assert_close(
                out, expected.flip(2) if turned else expected, atol=0.01, rtol=1e-4
            )


def test_without_colour_the_batch_is_only_normalised():
    config = Augmentation(size=32, scale=(1, 1), ratio=(1, 1), flip=0, jitter=0, grayscale=0)
    x = images(4)
    out = Augmenter(config, MEAN, STD, seed=0)(x, 0, torch.arange(4))
    torch.testing.assert_close(out, F.normalize(x / 255, MEAN, STD), atol=1e-5, rtol=1e-4)


def test_grayscale_leaves_one_channel():
    config = Augmentation(size=32, grayscale=1)
    out = Augmenter(config, (0.0,) * 3, (1.0,) * 3, seed=0)(images(4), 0, torch.arange(4))
    torch.testing.assert_close(out[:, 0], out[:, 1], atol=2e-3, rtol=0)
    torch.testing.assert_close(out[:, 0], out[:, 2], atol=2e-3, rtol=0)


def test_the_jitter_is_torchvisions_but_for_the_hue():
    """One brightness, contrast and saturation each, in that order, where no values are cut off.

    torchvision rounds after each step.
    """
    config = Augmentation(size=32, scale=(1, 1), ratio=(1, 1), flip=0, hue=0.0, grayscale=0.5)
    x, index = (images(16) // 4 + 90), torch.arange(16)
    augment = Augmenter(config, (0.0,) * 3, (1.0,) * 3, seed=0)
    draws = augment.draws(0, index)[:, -6:]
    for image, u, out in zip(x / 255, draws, augment(x, 0, index), strict=True):
        b, c, s = (1 + 0.4 * (2 * u[1:4] - 1)).tolist()
        expected = F.adjust_saturation(
            F.adjust_contrast(F.adjust_brightness(image, b), c), 0 if u[5] < 0.5 else s
        )
        torch.testing.assert_close(out, expected, atol=2e-3, rtol=0)


def test_the_hue_turns_chroma_and_keeps_luminance():
    """Luminance stays; the turn is HSV's the other way round, to within a tenth of a circle.

    Draws are symmetric.
    """
    config = Augmentation(
        size=8,
        scale=(1, 1),
        ratio=(1, 1),
        flip=0,
        brightness=0,
        contrast=0,
        saturation=0,
        grayscale=0,
    )
    colours = torch.tensor(
        [[140, 110, 110], [110, 140, 110], [110, 110, 140], [140, 140, 110]], dtype=torch.uint8
    )
    x, index = (
        colours.repeat(16, 1)[:, :, None, None].expand(-1, 3, 8, 8).contiguous(),
        torch.arange(64),
    )
    augment = Augmenter(config, (0.0,) * 3, (1.0,) * 3, seed=0)
    out = augment(x, 0, index)
    gray = torch.tensor([0.299, 0.587, 0.114])
    before, after = x[:, :, 0, 0] / 255 @ gray, out[:, :, 0, 0] @ gray
    torch.testing.assert_close(after, before, atol=3e-3, rtol=0)

    def hue(rgb):
        return torch.from_numpy(
            np.array([colorsys.rgb_to_hsv(*pixel.tolist())[0] for pixel in rgb])
        )

    asked = 0.4 * (2 * augment.draws(0, index)[:, -2] - 1)
    turned = hue(out[:, :, 0, 0]) - hue(x[:, :, 0, 0] / 255)
    off = (turned + asked + 0.5) % 1 - 0.5
    assert off.abs().max() < 0.1 and off.abs().mean() < 0.05


def test_a_batch_is_the_same_bit_for_bit_however_it_is_cut():
    augment, x, index = (
        Augmenter(Augmentation(size=32), MEAN, STD, seed=3),
        images(150),
        torch.arange(150),
    )
    whole = augment(x, 1, index)
    parts = [augment(x[at], 1, at) for at in index.split(37)]
    assert torch.equal(torch.cat(parts), whole)
    crops = images(10, 160)
    augment = Augmenter(Augmentation(size=160), MEAN, STD, seed=3)
    colours = augment.colours(augment.draws(0, index[:10]))
    one = augment.apply_colours(crops[4:5], (colours[0][4:5], colours[1][4:5]))
    assert torch.equal(augment.apply_colours(crops, colours)[4:5], one)
