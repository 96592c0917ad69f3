import torch
from torchvision.transforms import functional as F

from zoo.augment import Augmentation, Augmenter, crop

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def images(count, side=32):
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.manual_seed(0))


def test_a_draw_depends_on_seed_epoch_and_index_alone():
    augment, x, index = Augmenter(Augmentation(size=32), MEAN, STD, seed=3), images(8), torch.arange(8)
    whole = augment(x, 1, index)
    order = torch.tensor([5, 0, 7])
    torch.testing.assert_close(augment(x[order], 1, index[order]), whole[order])
    assert not torch.equal(augment(x, 2, index), whole)
    assert not torch.equal(Augmenter(Augmentation(size=32), MEAN, STD, seed=4)(x, 1, index), whole)


def test_crop_equals_torchvision():
    augment, x = Augmenter(Augmentation(), MEAN, STD, seed=0), images(32, 48)
    side = torch.full((32,), 48)
    boxes, flip = augment.boxes(augment.draws(0, torch.arange(32)), side, side)
    for size in (24, 64):  # shrinking (antialiased) and enlarging
        ours = crop(x, boxes, flip, size)
        for image, box, turned, out in zip(x, boxes.long().tolist(), flip, ours, strict=True):
            expected = F.resized_crop(image.float(), *box, [size, size], antialias=True)
            torch.testing.assert_close(out, expected.flip(2) if turned else expected, atol=0.01, rtol=1e-4)


def test_without_colour_the_batch_is_only_normalised():
    how = Augmentation(size=32, scale=(1, 1), ratio=(1, 1), flip=0, jitter=0, grayscale=0)
    x = images(4)
    out = Augmenter(how, MEAN, STD, seed=0)(x, 0, torch.arange(4))
    torch.testing.assert_close(out, F.normalize(x / 255, MEAN, STD), atol=1e-5, rtol=1e-4)


def test_grayscale_leaves_one_channel():
    how = Augmentation(size=32, grayscale=1)
    out = Augmenter(how, (0.0,) * 3, (1.0,) * 3, seed=0)(images(4), 0, torch.arange(4))
    torch.testing.assert_close(out[:, 0], out[:, 1], atol=2e-3, rtol=0)
    torch.testing.assert_close(out[:, 0], out[:, 2], atol=2e-3, rtol=0)
