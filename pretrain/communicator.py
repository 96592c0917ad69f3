"""The processes of a run: who they are, what they tell each other, and how they fail together.

``World`` is a run of one process, in which every exchange is the identity; ``Group`` is one of many, by
torch.distributed's own collectives. Both have the same methods, so the rest of the code has one path.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from zoo import NpidError, RunError

T = TypeVar("T")

_LOST = re.compile("gloo|nccl|connection (closed|reset)|timed out|socket", re.IGNORECASE)


class PeerError(RunError):
    """Raised on all ranks but 0, which tells the user what happened."""


class World:
    """A run of one process."""

    rank, size = 0, 1

    def gather(self, mine: Tensor) -> Tensor:
        """B×… of every rank, in the order of ranks: W·B×…; every rank must give as many rows."""
        return mine

    def mine(self, everyone: Tensor) -> Tensor:
        """This rank's B×… out of what :meth:`gather` gives (a view)."""
        return everyone

    def sum(self, x: Tensor) -> Tensor:
        """The elementwise sum over the ranks."""
        return x

    def max(self, x: Tensor) -> Tensor:
        """The elementwise maximum over the ranks."""
        return x

    def exchange(self, x: Tensor, give: list[int], take: list[int]) -> Tensor:
        """Rows for each rank, the first ``give[0]`` for rank 0 and so on, against the ``take`` rows each has for us."""
        return x

    def collect(self, x: Tensor, rows: list[int]) -> Tensor:
        """On rank 0 the rows of all ranks, one after another, on the CPU; elsewhere nothing of use.

        Args:
            rows: how many each rank has.
        """
        return x

    def spread(self, tensors: list[Tensor]) -> None:
        """Overwrite the tensors with rank 0's."""

    def hear(self, value: Any) -> list[Any]:
        """A plain value of every rank."""
        return [value]

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each of some numbers over the ranks."""
        return list(numbers)

    def told(self, error: NpidError) -> NpidError:
        """The error to raise where all ranks found the same one: rank 0 tells it."""
        return error if self.rank == 0 else PeerError(str(error))

    def alike(self, what: str, value: Any) -> None:
        """
        Raises:
            RunError: where a plain value differs between the ranks.
        """
        if any(other != value for other in self.hear(value)):
            raise self.told(
                RunError(
                    f"{what} are not the same in all processes; put them where every machine sees them"
                )
            )

    def together(self, work: Callable[[], T]) -> T:
        """What ``work`` returns; rank 0 goes first, and where it fails on one rank it fails on all.

        Raises:
            NpidError: on rank 0, its own or that of the first rank that failed; Elsewhere on the others.
        """
        return work()


ALONE = World()


def world_of(rows: Any) -> World:
    """The processes among which the rows of a bank are dealt out; a tensor's are all here."""
    return getattr(rows, "world", ALONE)


class Group(World):
    """One of several processes, after ``torch.distributed.init_process_group``."""

    def __init__(self, device: torch.device) -> None:
        """
        Args:
            device: this process's own.
        """
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def gather(self, mine: Tensor) -> Tensor:
        everyone = mine.new_empty(self.size * len(mine), *mine.shape[1:])
        dist.all_gather(list(everyone.chunk(self.size)), mine.contiguous())
        return everyone

    def mine(self, everyone: Tensor) -> Tensor:
        return everyone.chunk(self.size)[self.rank]

    def sum(self, x: Tensor) -> Tensor:
        dist.all_reduce(x := x.clone())
        return x

    def max(self, x: Tensor) -> Tensor:
        dist.all_reduce(x := x.clone(), dist.ReduceOp.MAX)
        return x

    def exchange(self, x: Tensor, give: list[int], take: list[int]) -> Tensor:
        out = x.new_empty(sum(take), *x.shape[1:])
        dist.all_to_all_single(out, x.contiguous(), take, give)
        return out

    def collect(self, x: Tensor, rows: list[int]) -> Tensor:
        x = x.cpu()
        if self.rank:
            dist.send(x, 0)
            return x
        whole = x.new_empty(sum(rows), *x.shape[1:])
        parts = whole.split(rows)
        parts[0].copy_(x)
        for rank in range(1, self.size):
            dist.recv(parts[rank], rank)
        return whole

    def spread(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            dist.broadcast(tensor, 0)

    def hear(self, value: Any) -> list[Any]:
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, value)
        return everyone

    def largest(self, *numbers: int) -> list[int]:
        return self.max(torch.tensor(numbers, device=self.device)).tolist()

    def together(self, work: Callable[[], T]) -> T:
        found: list[T] = []

        def attempt(now: bool) -> None:
            failed: NpidError | None = None
            try:
                if now:
                    found.append(work())
            except NpidError as error:
                failed = error
            messages = self.hear(failed and str(failed))
            for rank, message in enumerate(messages):
                if message is not None and self.rank:
                    raise PeerError(f"rank {rank}: {message}") from failed
                if message is not None:
                    raise failed or RunError(f"rank {rank}: {message}")

        attempt(self.rank == 0)
        attempt(self.rank != 0)
        return found[0]


def launched() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world of a process that torchrun started; a world of one where it was started alone.

    Args:
        device: this process's own, as ``cuda:1``. Tensors there talk by NCCL, those on the CPU by gloo.

    Raises:
        RunError: when another process of the run is gone.
    """
    if not launched():
        yield ALONE
        return
    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo")
    world, lost = Group(place), False
    try:
        yield world
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or _LOST.search(str(error)) is not None
        if not lost:
            raise
        raise RunError(
            f"rank {world.rank} of {world.size}: another process of this run has ended (its own message, or "
            "torchrun's, says how); the last checkpoint is whole, go on with --resume"
        ) from error
    finally:
        if not lost:  # it would wait for those that are gone
            dist.destroy_process_group()
