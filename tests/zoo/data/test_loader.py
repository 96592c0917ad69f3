import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from zoo import DataError
from zoo.data.augment import Augmentation, Augmenter
from zoo.data.loader import FileBatches, InMemoryBatches
from zoo.data.sources import open_source

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
CPU = torch.device("cpu")


@pytest.fixture
def mixed(tmp_path):
    """Twelve images of many sizes and kinds."""
    rng = np.random.default_rng(0)
    for i in range(12):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        image = small.resize((150 + 17 * i, 140 + 11 * (i % 5)), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{i:02d}.{('jpg', 'png', 'webp')[i % 3]}")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_files_give_the_crops_of_their_draws_in_any_batch_and_worker(mixed, workers):
    source, augmenter = open_source(str(mixed)), Augmenter(Augmentation(size=64), MEAN, STD, seed=5)
    files = FileBatches(source, augmenter, CPU, workers)
    steps = torch.tensor([[3, 7, 1, 0], [5, 11, 2, 4]])
    images, index = (torch.cat(parts) for parts in zip(*files.augmented(2, steps), strict=True))
    assert index.tolist() == steps.flatten().tolist() and images.is_contiguous(
        memory_format=torch.channels_last
    )
    for image, i in zip(images, index, strict=True):
        whole, at = source.image(int(i)), i[None]
        sides = torch.tensor([whole.height]), torch.tensor([whole.width])
        boxes, flips = augmenter.boxes(augmenter.draws(2, at), *sides)
        cut = F.pil_to_tensor(F.resized_crop(whole, *boxes[0].long().tolist(), [64, 64]))
        cut = cut.flip(2) if flips[0] else cut
        expected = augmenter.apply_colours(cut[None], augmenter.colours(augmenter.draws(2, at)))[0]
        assert (image - expected).abs().mean() < 0.02  # of a standard deviation of about 64 levels
    again, _ = next(FileBatches(source, augmenter, CPU, 0).augmented(2, torch.tensor([[11, 0]])))
    assert torch.equal(again, images[[5, 3]])


def test_a_bad_file_is_named_or_left_out(mixed):
    whole = io.BytesIO()
    Image.new("RGB", (200, 200), (9, 200, 30)).save(whole, "JPEG")
    (mixed / "00.jpg").write_bytes(whole.getvalue()[:600])
    (mixed / "03.jpg").write_bytes(b"nothing")
    augmenter, steps = (
        Augmenter(Augmentation(size=64), MEAN, STD, seed=5),
        torch.tensor([[0, 1, 2, 3]]),
    )
    with pytest.raises(DataError, match=r"00\.jpg"):
        next(FileBatches(open_source(str(mixed)), augmenter, CPU, 0).augmented(0, steps))
    source = open_source(str(mixed), skip_bad=True)
    images, index = next(FileBatches(source, augmenter, CPU, 0).augmented(0, steps))
    assert index.tolist() == [1, 2] and len(images) == 2 and source.bad == {0, 3}
    assert [
        i for _, some in FileBatches(source, augmenter, CPU, 0).plain(5) for i in some.tolist()
    ] == [
        1,
        2,
        *range(4, 12),
    ]


def test_memory_leaves_out_what_is_bad():
    array = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    augmenter, steps = (
        Augmenter(Augmentation(size=32), MEAN, STD, seed=5),
        torch.tensor([[0, 8, 4], [2, 6, 1]]),
    )
    good = list(InMemoryBatches(array, set(), augmenter, CPU).augmented(1, steps))
    bad = list(InMemoryBatches(array, {8}, augmenter, CPU).augmented(1, steps))
    assert [index.tolist() for _, index in bad] == [[0, 4], [2, 6, 1]]
    assert torch.equal(bad[0][0], good[0][0][[0, 2]]) and torch.equal(bad[1][0], good[1][0])
