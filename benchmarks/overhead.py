"""What pretraining costs beyond the bare training step of the same backbone.

    python benchmarks/overhead.py DATA [--preset cifar10-cpu] [--rounds 12]

A round times the same number of full steps (data, augmentation, bank, objective, optimizer) and
of bare ones (forward, backward, optimizer on one fixed batch), turn about, so that a machine's
moods hit both. Prints the medians and their ratio."""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from npid.malloc import keep_freed
from pretrain import PRESETS
from pretrain.step import train_step
from pretrain.train_state import TrainState
from pretrain.trainer import resolve_amp
from zoo.data.augment import Augmenter
from zoo.data.loader import epoch_order, open_batches
from zoo.data.sources import Source, open_source


def steps_of(source: Source, preset: str, device: torch.device, per_round: int, rounds: int):
    """A function that takes a full step on a batch, one that makes batches, and the bare step.

    Returns:
        The settings; (images, indices, number) → None; (steps×B) → batches; () → None; steps of
        each round.
    """
    config = PRESETS[preset]
    config = replace(config, amp=resolve_amp(config, device), bank_init="random")
    batches = open_batches(
        source, Augmenter(config.augment, config.mean, config.std, config.seed), device, workers=0
    )

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=config.amp == "bfloat16")

    state = TrainState.create(config, batches, len(source), autocast, fresh=True)
    every = epoch_order(config.seed, 0, len(source), config.batch_size)
    rows = every[torch.arange(per_round * (rounds + 1)) % len(every)].split(per_round)
    fixed, _ = next(batches.augmented(0, rows[0][:1]))

    def full(images: torch.Tensor, indices: torch.Tensor, number: int) -> None:
        train_step(state, images, indices, config, number, autocast)

    def bare() -> None:
        with autocast():
            v = state.model.embed(fixed)
        state.optimizer.zero_grad(set_to_none=True)
        v.sum().backward()
        state.optimizer.step()

    return config, full, lambda some: batches.augmented(0, some), bare, rows


def overhead(
    source: Source, preset: str, device: torch.device, per_round: int, rounds: int
) -> float:
    """Times full and bare steps in turns, prints the medians, and returns the median ratio."""
    config, full, batches, bare, rows = steps_of(source, preset, device, per_round, rounds)

    def timed(work) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / per_round

    def all_full(some: torch.Tensor) -> None:
        for number, (images, indices) in enumerate(batches(some)):
            full(images, indices, number)

    def all_bare() -> None:
        for _ in range(per_round):
            bare()

    all_full(rows[0]), all_bare()  # warm up
    pairs = [(timed(lambda some=some: all_full(some)), timed(all_bare)) for some in rows[1:]]
    whole, plain = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"{preset}, batch {config.batch_size}, {device}, {config.amp}, "
        f"{torch.get_num_threads()} threads"
    )
    print(
        f"full step {1e3 * whole:.1f} ms ({config.batch_size / whole:,.0f} images/s); "
        f"bare {1e3 * plain:.1f} ms",
        end="; ",
    )
    print(f"median ratio of {len(pairs)} rounds {ratio:.3f}")
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--preset", default="cifar10-cpu")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=25, help="per round")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    keep_freed()  # as npid does, for all cases
    overhead(
        open_source(asked.data), asked.preset, torch.device(asked.device), asked.steps, asked.rounds
    )


if __name__ == "__main__":
    main()
