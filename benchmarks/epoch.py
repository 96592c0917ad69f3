"""A pretraining epoch against lightly's transforms, data loader, memory bank and loss, on the
same backbone.

    pip install lightly
    python benchmarks/epoch.py DATA [--preset cifar10-cpu] [--steps 40] [--rounds 5]

Pieces of an epoch take turns: lightly (one view of each image by its SimCLR view transform with
this preset's crop, jitter, grayscale and flip; a data loader with as many workers as there are
cores; its NTXentLoss with a memory bank of as many rows as the preset's objective sees, the
positive being the view itself), ours, and the bare step (forward, backward, optimizer on one
fixed batch). All three run the same backbone, optimizer, autocast and memory format, and a piece
begins with no batch fetched ahead. *lightly, as its examples train* has neither autocast nor
channels last."""

import argparse
import contextlib
import os
from dataclasses import replace

import torch
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.transforms.simclr_transform import SimCLRViewTransform
from PIL import Image
from timing import Cases, interleaved, machine, ratio, report
from torch.utils.data import DataLoader, Dataset, Sampler

from npid.malloc import keep_freed
from pretrain import PRESETS, PretrainConfig
from pretrain.step import train_step
from pretrain.train_state import Autocast, TrainState
from pretrain.trainer import resolve_amp
from zoo.data.augment import Augmenter
from zoo.data.loader import epoch_order, open_batches
from zoo.data.sources import Source, open_source


class Pictures(Dataset):
    """As torchvision's data sets give them."""

    def __init__(self, source: Source, transform: SimCLRViewTransform) -> None:
        self.images, self.transform = source.array(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), 0


class Piece(Sampler):
    """The next rows of an epoch."""

    rows: list[list[int]]

    def __iter__(self):
        return iter(self.rows)


def view(config: PretrainConfig) -> SimCLRViewTransform:
    augment = config.augment
    return SimCLRViewTransform(
        input_size=augment.size,
        cj_prob=augment.jitter,
        cj_strength=1.0,
        cj_bright=augment.brightness,
        cj_contrast=augment.contrast,
        cj_sat=augment.saturation,
        cj_hue=augment.hue,
        min_scale=augment.scale[0],
        random_gray_scale=augment.grayscale,
        gaussian_blur=0.0,
        hf_prob=augment.flip,
        normalize={"mean": config.mean, "std": config.std},
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--preset", default="cifar10-cpu")
    parser.add_argument("--steps", type=int, default=40, help="of a piece")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    keep_freed()  # as npid does, for all cases
    device = torch.device("cpu")
    source = open_source(asked.data)
    config = PRESETS[asked.preset]
    config = replace(config, amp=resolve_amp(config, device), bank_init="random")
    batches = open_batches(
        source, Augmenter(config.augment, config.mean, config.std, config.seed), device, workers=0
    )

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=config.amp == "bfloat16")

    def state() -> TrainState:
        return TrainState.create(config, batches, len(source), autocast, fresh=True)

    mine, theirs, usual, plain = state(), state(), state(), state()
    usual.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    rows = len(source) if config.loss.name == "exact" else config.loss.negatives
    criterion = NTXentLoss(
        temperature=config.loss.temperature, memory_bank_size=(rows, config.embed_dim)
    )
    piece = Piece()
    dataset = LightlyDataset.from_torch_dataset(Pictures(source, view(config)))
    loader = DataLoader(
        dataset, batch_sampler=piece, num_workers=os.cpu_count() or 1, persistent_workers=True
    )
    every = epoch_order(config.seed, 0, len(source), config.batch_size)
    pieces = iter(
        every[torch.arange(3 * asked.steps * (asked.rounds + 1)) % len(every)].split(asked.steps)
    )
    fixed, _ = next(batches.augmented(0, every[:1]))

    def learn(state: TrainState, loss: torch.Tensor) -> None:
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()

    def lightly(state: TrainState, precision: Autocast, layout: torch.memory_format):
        def work() -> None:
            piece.rows = next(pieces).tolist()
            for images, _, _ in loader:
                with precision():
                    v = state.model.embed(images.contiguous(memory_format=layout))
                learn(state, criterion(v.float(), v.detach().float()))

        return work

    def ours() -> None:
        for number, (images, indices) in enumerate(batches.augmented(0, next(pieces))):
            train_step(mine, images, indices, config, number, autocast)

    def bare() -> None:
        for _ in range(asked.steps):
            with autocast():
                v = plain.model.embed(fixed)
            learn(plain, v.sum())

    as_it_trains = "lightly, as its examples train"
    cases: Cases = {
        "lightly": lightly(theirs, autocast, torch.channels_last),
        as_it_trains: lightly(usual, contextlib.nullcontext, torch.contiguous_format),
        "ours": ours,
        "bare step": bare,
    }
    times = interleaved(cases, asked.rounds)
    print(machine("torchvision", "lightly"))
    title = f"{asked.preset}: {config.backbone}, batch {config.batch_size}, {config.amp}; ms a step"
    report(
        title,
        {name: [s / asked.steps for s in seconds] for name, seconds in times.items()},
        "lightly",
    )
    print(f"\nimages/s: {1 / ratio(times, 'ours', 'lightly'):.2f}× lightly's", end=", ")
    print(
        f"{1 / ratio(times, 'ours', as_it_trains):.2f}× lightly's as its examples train", end=", "
    )
    print(f"{1 / ratio(times, 'ours', 'bare step'):.3f}× the bare step's")


if __name__ == "__main__":
    main()
