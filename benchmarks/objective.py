"""The objectives against the obvious implementations of them: forward, backward and the bank's
update.

    python benchmarks/objective.py [--sizes 50000 1280000] [--rounds 7]

B = 256, D = 128, τ = 0.07. *plain* is torch's autograd over materialised fp32 logits; *floor* is
the two matrix products that any exact softmax needs, by the library and in the tiles that this
machine multiplies fastest; *plain NCE* is index_select + bmm + autograd over B×m×D rows, m =
4096. With lightly installed, its NTXentLoss with a memory bank of 65 536 rows is timed against
the exact softmax over as many rows."""

import argparse
import math
import subprocess
import sys

import torch
import torch.nn.functional as F
from timing import Cases, interleaved, machine, memory, report

from pretrain.attention import exact, product
from pretrain.losses.nce import nce
from pretrain.memory_bank import LocalBank

B, D, M, TAU = 256, 128, 4096, 0.07


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(shape), dim=-1)


def ours(loss, v: torch.Tensor, index: torch.Tensor, bank: LocalBank):
    def work() -> None:
        u = v.clone().requires_grad_()
        loss(u, index, bank).mean().backward()
        bank.update(index, u.detach(), 0.5)

    return work


def plain(v: torch.Tensor, index: torch.Tensor, rows: torch.Tensor):
    def work() -> None:
        u = v.clone().requires_grad_()
        F.cross_entropy(u @ rows.T / TAU, index).backward()
        rows[index] = F.normalize(0.5 * rows[index] + 0.5 * u.detach())

    return work


def plain_nce(
    v: torch.Tensor,
    index: torch.Tensor,
    rows: torch.Tensor,
    negatives: torch.Tensor,
    log_z: torch.Tensor,
):
    def work() -> None:
        u = v.clone().requires_grad_()
        shift = log_z + math.log(M / len(rows))
        other = rows.index_select(0, negatives.view(-1)).view(B, M, D)
        scores = torch.bmm(other, u[:, :, None])[:, :, 0] / TAU - shift
        positive = (u * rows[index]).sum(1) / TAU - shift
        (F.softplus(scores).sum(1) + F.softplus(-positive)).mean().backward()
        rows[index] = F.normalize(0.5 * rows[index] + 0.5 * u.detach())

    return work


def floor(v: torch.Tensor, rows: torch.Tensor, tile: int):
    query, even = v.to(rows.dtype), rows[: len(rows) // tile * tile]

    def work() -> None:
        for some in even.split(tile):
            product(product(query, some.T), some)

    return work


def with_softmax(u, index, bank):
    return exact(u, index, bank, TAU)


def at_size(size: int, rounds: int) -> None:
    torch.manual_seed(0)
    rows, v, index = unit(size, D), unit(B, D), torch.randperm(size)[:B]
    banks = {kind: LocalBank(rows, kind) for kind in ("float32", "bfloat16", "int8")}
    cases: Cases = {"plain": plain(v, index, rows)}
    cases |= {f"exact, {kind}": ours(with_softmax, v, index, bank) for kind, bank in banks.items()}
    report(f"N = {size:,}", interleaved(cases, rounds), "plain")
    for kind in ("float32", "bfloat16"):  # apart from the plain case, which leaves the memory upset
        name = f"exact, {kind}"
        cases = {name: ours(with_softmax, v, index, banks[kind])}
        cases |= {
            f"floor, tiles of {tile}": floor(v, banks[kind].rows, tile)
            for tile in (1024, 2048, 4096, 8192)
        }
        times = interleaved(cases, rounds)
        best = min((case for case in times if case != name), key=lambda case: min(times[case]))
        report(f"{name}, against its floor, N = {size:,}", times, best)

    negatives, shared = torch.randint(size, (B, M)), torch.randint(size, (M,))
    log_z = torch.tensor(math.log(size) + 8)
    cases = {"plain NCE": plain_nce(v, index, rows, negatives, log_z)}
    for kind in ("float32", "bfloat16"):
        for name, drawn in (("a set for each row", negatives), ("one shared set", shared)):

            def loss(u, i, bank, drawn=drawn):
                return nce(u, i, drawn, bank, TAU, log_z)

            cases[f"NCE, {kind}, {name}"] = ours(loss, v, index, banks[kind])
    report(f"{M} negatives, N = {size:,}", interleaved(cases, rounds), "plain NCE")


def against_lightly(rounds: int) -> None:
    from lightly.loss import NTXentLoss

    torch.manual_seed(0)
    size = 65536
    v, other, index, rows = unit(B, D), unit(B, D), torch.randperm(size)[:B], unit(size, D)
    criterion = NTXentLoss(temperature=TAU, memory_bank_size=(size, D))

    def theirs() -> None:
        criterion(v.clone().requires_grad_(), other).backward()

    cases: Cases = {"lightly": theirs}
    for kind in ("float32", "bfloat16"):
        cases[f"exact, {kind}"] = ours(with_softmax, v, index, LocalBank(rows, kind))
    report(
        f"lightly's memory bank and NTXentLoss, {size:,} rows",
        interleaved(cases, rounds),
        "lightly",
    )


def peak(kind: str, size: int) -> None:
    """In a process of its own: bytes that one step adds to the peak."""

    rows = torch.empty(size, D)
    for some in rows.split(10_000):
        some.copy_(unit(len(some), D))
    bank, v, index = LocalBank(rows, kind), unit(B, D), torch.arange(B)
    ours(
        with_softmax, v, index, LocalBank(rows[:B].clone(), kind)
    )()  # what torch itself needs once
    del rows
    before, _ = memory()
    ours(with_softmax, v, index, bank)()
    added = memory()[1] - before
    print(f"{kind}: a step adds {added / 1e6:.1f} MB, {added / (B * size * 4):.1%} of the logits")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 1_280_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak", nargs=2, metavar=("KIND", "N"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        return peak(asked.peak[0], int(asked.peak[1]))
    print(machine())
    for size in asked.sizes:
        at_size(size, asked.rounds)
        for kind in ("float32", "bfloat16"):
            subprocess.run([sys.executable, __file__, "--peak", kind, str(size)], check=True)
    try:
        against_lightly(asked.rounds)
    except ImportError:
        print("\nlightly is not installed; pip install lightly to be timed against it")


if __name__ == "__main__":
    main()
