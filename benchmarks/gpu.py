"""Correctness and speed on one CUDA card.

    python benchmarks/gpu.py                        # about five minutes
    python benchmarks/gpu.py --device cpu --tiny    # shows that it runs; judges correctness only

It checks the objectives, the memory bank, kNN and the augmentation on the card against float64 on
the CPU, counts how often a training step waits for the card, and times

- the exact softmax over 1.28 million rows (B = 256, D = 128, bf16; forward, backward, bank
  update) against the two matrix products that it cannot do without: at most 2 ×; and against a
  ResNet-50 step: less than 5 %;
- a step of the CIFAR-10 recipe (ResNet-18, preset paper-cifar10) against the bare forward,
  backward and optimizer step: the bare one at least 90 % of it.

Exits with 1 where a check fails or a card misses one of these.
"""

import argparse
import sys
import warnings
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from overhead import overhead, steps_of
from timing import Cases, interleaved, machine, ratio, report
from torch import Tensor

import zoo
from downstream.nearest import nearest
from pretrain import attention
from pretrain.attention import exact
from pretrain.losses.infonce import infonce
from pretrain.losses.nce import nce
from pretrain.memory_bank import LocalBank
from zoo.data.augment import Augmentation, Augmenter
from zoo.data.sources import ArraySource

TAU, D = 0.07, 128
WAITS = 1  # of a step for the device: to read loss and gradient norm before anything changes


class Verdicts:
    """Prints each figure beside what it must reach, and remembers whether all did."""

    def __init__(self, judged: bool) -> None:
        self.judged, self.good = judged, True

    def at_most(self, what: str, value: float, limit: float, always: bool = False) -> None:
        fine = value <= limit
        judged = always or self.judged
        print(
            f"{what}: {value:.3g}, must be at most {limit:g}"
            f"{': MISSED' if judged and not fine else ''}",
            flush=True,
        )
        self.good &= fine or not judged


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(shape), dim=-1)


def relative(found: Tensor, expected: Tensor) -> float:
    found = found.detach().cpu().double()
    return ((found - expected).norm() / expected.norm()).item()


def in_float64(name: str, v: Tensor, index: Tensor, rows: Tensor, negatives: Tensor) -> Tensor:
    """The objectives as the paper defines them."""
    n, m = len(rows), negatives.shape[-1]
    positive = (v * rows[index]).sum(1) / TAU
    if name == "exact":
        return (v @ rows.T / TAU).logsumexp(1) - positive
    others = negatives.expand(len(v), m)
    scores = torch.einsum("bd,bmd->bm", v, rows[others]) / TAU
    hit = others == index[:, None]
    if name == "infonce":
        return (
            torch.cat([positive[:, None], scores.masked_fill(hit, -torch.inf)], 1).logsumexp(1)
            - positive
        )
    noise = torch.tensor(m / n, dtype=torch.float64).log() + 8.0  # log Z = 8
    return F.softplus(noise - positive) + F.softplus(scores - noise).masked_fill(hit, 0).sum(1)


def check_objectives(device: torch.device, size: int, verdict: Verdicts) -> None:
    torch.manual_seed(0)
    vectors, index, start = unit(64, D), torch.randint(size, (64,)), unit(size, D)
    index[-1] = index[0]
    drawn = {
        "a set for each": torch.randint(size, (64, 500)),
        "shared": torch.randint(size, (500,)),
    }
    for kind, bound in (("float32", 1e-5), ("bfloat16", 1e-2), ("int8", 1e-2)):
        bank = LocalBank(start.to(device), kind)
        rows = bank.lookup(torch.arange(size, device=device)).float().cpu().double()
        log_z = torch.tensor(8.0, device=device)
        losses = {("exact", "all"): lambda v, i, _, bank=bank: exact(v, i, bank, TAU)}
        for how in drawn:
            losses["nce", how] = lambda v, i, n, bank=bank, log_z=log_z: nce(
                v, i, n, bank, TAU, log_z
            )
            losses["infonce", how] = lambda v, i, n, bank=bank: infonce(v, i, n, bank, TAU)
        for (name, how), loss in losses.items():
            negatives = drawn.get(how, drawn["shared"])
            there = vectors.to(device).requires_grad_()
            here = vectors.to(bank.dtype).double().requires_grad_()
            found = loss(there, index.to(device), negatives.to(device))
            expected = in_float64(name, here, index, rows, negatives)
            slope, wanted = (
                torch.autograd.grad(a.mean(), b)[0] for a, b in ((found, there), (expected, here))
            )
            error = max(relative(found, expected.detach()), relative(slope, wanted))
            verdict.at_most(
                f"{name}, {how}, {kind}: loss and gradient off by", error, bound, always=True
            )
        bank.update(index.to(device), vectors.to(device), 0.5)
        changed = rows.clone()
        for i, v in zip(index.tolist(), vectors.double(), strict=True):
            changed[i] = F.normalize(0.5 * rows[i] + 0.5 * v, dim=0)
        error = relative(bank.lookup(torch.arange(size, device=device)).float(), changed)
        verdict.at_most(f"bank, {kind}: an update off by", error, bound, always=True)


def check_neighbours(device: torch.device, size: int, verdict: Verdicts) -> None:
    torch.manual_seed(1)
    rows, queries, k = unit(size, D), unit(100, D), 50
    found, at = nearest(rows.to(device), queries.to(device), k)
    products = queries.double() @ rows.double().T
    verdict.at_most(
        "kNN: products off by", relative(found, products.topk(k).values), 1e-5, always=True
    )
    verdict.at_most(
        "kNN: rows off by",
        relative(products.gather(1, at.cpu()), products.topk(k).values),
        1e-6,
        True,
    )


def check_augmentation(device: torch.device, verdict: Verdicts) -> None:
    images, index = torch.randint(256, (64, 3, 40, 40), dtype=torch.uint8), torch.arange(64)
    augment = Augmenter(Augmentation(size=32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), seed=0)
    here, there = augment(images, 3, index), augment(images.to(device), 3, index.to(device))
    verdict.at_most("augmentation: off by", relative(there, here.double()), 1e-4, always=True)


def time_exact(
    device: torch.device, size: int, batch: int, rounds: int, network: str, side: int, verdict
) -> None:
    torch.manual_seed(2)
    bank = LocalBank.random(size, D, seed=0, storage="bfloat16", device=str(device))
    v, index = unit(batch, D).to(device), torch.randperm(size)[:batch].to(device)
    query = v.bfloat16()
    model = zoo.create(network, embed_dim=D).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, fused=True)
    images = torch.randn(batch, 3, side, side, device=device).contiguous(
        memory_format=torch.channels_last
    )

    def ours() -> None:
        u = v.clone().requires_grad_()
        exact(u, index, bank, TAU).mean().backward()
        bank.update(index, u.detach(), 0.5)

    def floor(tile: int) -> None:
        for rows in bank.iter_chunks(tile):
            (query @ rows.T) @ rows

    def backbone() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            out = model.embed(images)
        optimizer.zero_grad(set_to_none=True)
        out.sum().backward()
        optimizer.step()

    cases: Cases = {"exact": ours, network: backbone}
    for heads in (16, 32, 64, 128):  # which is best says what attention.heads_for should give
        cases[f"attention over {heads} heads"] = partial(
            attention.fused, query, bank.rows, TAU, heads
        )
    cases |= {
        f"floor, tiles of {tile}": partial(floor, tile) for tile in (1 << 14, 1 << 16, 1 << 18)
    }
    times = interleaved(cases, rounds)
    report(f"N = {size:,}, B = {batch}, bf16", times, "exact")
    best = min(
        (name for name in times if name.startswith("floor")), key=lambda name: min(times[name])
    )
    verdict.at_most("exact by its floor", ratio(times, "exact", best), 2)
    verdict.at_most(f"exact by a {network} step", ratio(times, "exact", network), 0.05)


class Noise(ArraySource):
    """As many images as CIFAR-10, of its size: what they show does not matter for the time."""

    @classmethod
    def accepts(cls, data: str) -> bool:
        return False

    def __init__(self, count: int) -> None:
        super().__init__("noise", "train")
        self.images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def count_waits(source: Noise, device: torch.device) -> float:
    """How often a step, its batch included, waits for the card: torch warns of each."""
    _, full, batches, _, rows = steps_of(source, "paper-cifar10", device, per_round=4, rounds=1)
    for number, (images, index) in enumerate(batches(rows[0])):
        full(images, index, number)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number, (images, index) in enumerate(batches(rows[1])):
                full(images, index, number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [w for w in caught if "synchroniz" in str(w.message)]
    for line in sorted({f"{w.filename}:{w.lineno}" for w in found}):
        print(f"  waits in {line}")
    return len(found) / len(rows[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that take seconds")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    device, tiny = torch.device(asked.device), asked.tiny
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "gpu.py: torch sees no CUDA card here; --device cpu --tiny shows that the script runs"
        )
    verdict = Verdicts(judged=device.type == "cuda" and not tiny)
    print(machine())
    check_objectives(device, 3000 if tiny else 50_000, verdict)
    check_neighbours(device, 3000 if tiny else 50_000, verdict)
    check_augmentation(device, verdict)
    source = Noise(1024 if tiny else 50_000)
    if device.type == "cuda":
        verdict.at_most(
            "waits of a step for the card", count_waits(source, device), WAITS, always=True
        )
    rounds = 1 if tiny else asked.rounds
    if tiny:
        time_exact(device, 20_000, 8, rounds, "resnet10", 32, verdict)
    else:
        time_exact(device, 1_280_000, 256, rounds, "resnet50", 224, verdict)
    print()
    step = overhead(
        source, "cifar10-cpu" if tiny else "paper-cifar10", device, 1 if tiny else 25, rounds
    )
    verdict.at_most("a CIFAR-10 step by the bare one", step, 1 / 0.9)
    sys.exit(not verdict.good)


if __name__ == "__main__":
    main()
