"""How the processes of a run talk to each other, and how they fail together.

A :class:`Communicator` has the collectives that training needs, under torch.distributed's names.
:class:`SingleProcess` is a run of one process, in which every collective is the identity;
:class:`ProcessGroup` is one of many processes, by torch.distributed's own collectives. The rest of
the code has one path for both.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.errors import NpidError, PeerError, RunError

T = TypeVar("T")


class LostPeerError(RunError):
    """Another process of the run is gone: a collective could not be completed."""


class Communicator(ABC):
    """What one process of a run needs of the others.

    Every method but :meth:`local_part` and :meth:`peer_error` is collective: all ranks call it, in
    the same order.

    Attributes:
        rank: The number of this process, from 0.
        size: How many processes train together.
    """

    rank: int = 0
    size: int = 1

    @abstractmethod
    def all_gather(self, local: Tensor) -> Tensor:
        """Concatenate a tensor of every rank.

        Args:
            local: B×…; every rank must give as many rows.

        Returns:
            W·B×…, in the order of ranks.
        """

    @abstractmethod
    def local_part(self, gathered: Tensor) -> Tensor:
        """Pick this rank's B×… out of what :meth:`all_gather` gives (a view)."""

    @abstractmethod
    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Return the elementwise sum over the ranks; ``values`` stays as it is."""

    @abstractmethod
    def all_reduce_max(self, values: Tensor) -> Tensor:
        """Return the elementwise maximum over the ranks; ``values`` stays as it is."""

    @abstractmethod
    def all_to_all(
        self, rows: Tensor, send_counts: Sequence[int], receive_counts: Sequence[int]
    ) -> Tensor:
        """Send rows to each rank, and receive the rows that each has for this one.

        Args:
            rows: The first ``send_counts[0]`` go to rank 0, the next to rank 1, and so on.
            send_counts: How many rows go to each rank.
            receive_counts: How many rows come from each rank.

        Returns:
            The rows received, in the order of ranks.
        """

    @abstractmethod
    def gather_to_rank_zero(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Collect the rows of all ranks on rank 0.

        Args:
            rows: This rank's own.
            counts: How many rows each rank has.

        Returns:
            On rank 0 the rows of all ranks, one after another, on the CPU; elsewhere nothing of
            use.
        """

    @abstractmethod
    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""

    @abstractmethod
    def all_gather_object(self, value: T) -> list[T]:
        """Return a plain value of every rank, in the order of ranks."""

    @abstractmethod
    def all_reduce_max_numbers(self, *numbers: int) -> list[int]:
        """Return the largest of each number over the ranks."""

    @abstractmethod
    def rank_zero_first(self, work: Callable[[], T]) -> T:
        """Do the same work on every rank, first on rank 0; where one fails, all fail.

        Raises:
            NpidError: On rank 0, its own or that of the first rank that failed.
            PeerError: On the other ranks.
        """

    @abstractmethod
    def watch_peers(self) -> AbstractContextManager[None]:
        """Return a context in which torch's own collectives (a backward pass, say) may run.

        Raises:
            LostPeerError: From the context, when another process is gone.
        """

    def peer_error(self, error: NpidError) -> NpidError:
        """Return the error to raise where all ranks found the same one: rank 0 tells it."""
        return error if self.rank == 0 else PeerError(str(error))

    def assert_same(self, what: str, value: Any) -> None:
        """Check that a plain value is the same on all ranks.

        Args:
            what: The thing compared, in the plural, for the message.
            value: This rank's.

        Raises:
            RunError: On rank 0, where it differs.
            PeerError: On the other ranks.
        """
        for other in self.all_gather_object(value):
            if other != value:
                raise self.peer_error(
                    RunError(
                        f"{what} are not the same in all processes; "
                        "put them where every machine sees them"
                    )
                )


class SingleProcess(Communicator):
    """A run of one process, which has nobody to talk to."""

    def all_gather(self, local: Tensor) -> Tensor:
        """Return the tensor itself."""
        return local

    def local_part(self, gathered: Tensor) -> Tensor:
        """Return the tensor itself."""
        return gathered

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Return the tensor itself."""
        return values

    def all_reduce_max(self, values: Tensor) -> Tensor:
        """Return the tensor itself."""
        return values

    def all_to_all(
        self, rows: Tensor, send_counts: Sequence[int], receive_counts: Sequence[int]
    ) -> Tensor:
        """Return the rows themselves."""
        return rows

    def gather_to_rank_zero(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the rows themselves, wherever they are."""
        return rows

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing: the tensors are rank 0's."""

    def all_gather_object(self, value: T) -> list[T]:
        """Return the value alone."""
        return [value]

    def all_reduce_max_numbers(self, *numbers: int) -> list[int]:
        """Return the numbers themselves."""
        return list(numbers)

    def rank_zero_first(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns."""
        return work()

    def watch_peers(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()


SINGLE_PROCESS = SingleProcess()


class ProcessGroup(Communicator):
    """One of several processes, after ``torch.distributed.init_process_group``.

    Attributes:
        device: This process's own, on which numbers are exchanged.
    """

    def __init__(self, device: torch.device) -> None:
        """Join the group that torch.distributed knows.

        Args:
            device: This process's own.
        """
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.device = device

    @contextmanager
    def watch_peers(self) -> Iterator[None]:
        """Turn what torch raises for a failed collective into a :class:`LostPeerError`.

        gloo raises plain ``RuntimeError``, NCCL ``dist.DistBackendError``, which is one too.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise self._lost_peer() from error

    def _lost_peer(self) -> LostPeerError:
        return LostPeerError(
            f"rank {self.rank} of {self.size}: another process of this run has ended "
            "(its own message, or torchrun's, says how); "
            "the last checkpoint is whole, go on with --resume"
        )

    def all_gather(self, local: Tensor) -> Tensor:
        """Concatenate a tensor of every rank; see :meth:`Communicator.all_gather`."""
        gathered = local.new_empty(self.size * len(local), *local.shape[1:])
        with self.watch_peers():
            dist.all_gather(list(gathered.chunk(self.size)), local.contiguous())
        return gathered

    def local_part(self, gathered: Tensor) -> Tensor:
        """Pick this rank's rows out of what :meth:`all_gather` gives (a view)."""
        return gathered.chunk(self.size)[self.rank]

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Return the elementwise sum over the ranks."""
        reduced = values.clone()
        with self.watch_peers():
            dist.all_reduce(reduced)
        return reduced

    def all_reduce_max(self, values: Tensor) -> Tensor:
        """Return the elementwise maximum over the ranks."""
        reduced = values.clone()
        with self.watch_peers():
            dist.all_reduce(reduced, dist.ReduceOp.MAX)
        return reduced

    def all_to_all(
        self, rows: Tensor, send_counts: Sequence[int], receive_counts: Sequence[int]
    ) -> Tensor:
        """Send rows to each rank and receive theirs; see :meth:`Communicator.all_to_all`."""
        received = rows.new_empty(sum(receive_counts), *rows.shape[1:])
        with self.watch_peers():
            dist.all_to_all_single(
                received, rows.contiguous(), list(receive_counts), list(send_counts)
            )
        return received

    def gather_to_rank_zero(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Collect the rows of all ranks on rank 0, one rank after another."""
        rows = rows.cpu()
        if self.rank != 0:
            with self.watch_peers():
                dist.send(rows, 0)
            return rows
        gathered = rows.new_empty(sum(counts), *rows.shape[1:])
        parts = torch.split(gathered, list(counts))
        parts[0].copy_(rows)
        with self.watch_peers():
            for rank in range(1, self.size):
                dist.recv(parts[rank], rank)
        return gathered

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""
        with self.watch_peers():
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def all_gather_object(self, value: T) -> list[T]:
        """Return a plain value of every rank, in the order of ranks."""
        values: list[Any] = [None] * self.size
        with self.watch_peers():
            dist.all_gather_object(values, value)
        return values

    def all_reduce_max_numbers(self, *numbers: int) -> list[int]:
        """Return the largest of each number over the ranks."""
        largest: list[int] = self.all_reduce_max(torch.tensor(numbers, device=self.device)).tolist()
        return largest

    def rank_zero_first(self, work: Callable[[], T]) -> T:
        """Do the work on rank 0, then on the others; see :meth:`Communicator.rank_zero_first`."""
        results: list[T] = []
        for turn_of_rank_zero in (True, False):
            failure: NpidError | None = None
            if (self.rank == 0) == turn_of_rank_zero:
                try:
                    results.append(work())
                except LostPeerError:
                    raise
                except NpidError as error:
                    failure = error
            self._fail_together(failure)
        return results[0]

    def _fail_together(self, failure: NpidError | None) -> None:
        """Raise on every rank if any has failed."""
        messages = self.all_gather_object(None if failure is None else str(failure))
        for rank, message in enumerate(messages):
            if message is None:
                continue
            if self.rank == 0:
                raise failure or RunError(f"rank {rank}: {message}")
            raise PeerError(f"rank {rank}: {message}") from failure


def launched() -> bool:
    """Tell whether torchrun, or something like it, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def open_communicator(device: str) -> Iterator[Communicator]:
    """Join the processes that torchrun started; a process started alone joins nobody.

    Args:
        device: This process's own, as ``cuda:1``. Tensors there travel by NCCL, those on the CPU
            by gloo.

    Yields:
        A :class:`ProcessGroup`, or the one :class:`SingleProcess`.

    Raises:
        LostPeerError: When another process of the run is gone.
    """
    if not launched():
        yield SINGLE_PROCESS
        return
    own_device = torch.device(device)
    if own_device.type == "cuda":
        torch.cuda.set_device(own_device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if own_device.type == "cuda" else "gloo")
    group = ProcessGroup(own_device)
    peer_is_lost = False
    try:
        yield group
    except LostPeerError:
        peer_is_lost = True
        raise
    except dist.DistError as error:  # from torch's own collectives, as in SyncBatchNorm
        peer_is_lost = True
        raise group._lost_peer() from error
    finally:
        if not peer_is_lost:  # it would wait for those that are gone
            dist.destroy_process_group()
