"""The contract of a memory bank, and plain tensors seen as one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.communicator import SINGLE_PROCESS, Communicator
from zoo import SettingsError


class MemoryBank(ABC):
    """N unit vectors of D numbers: a row for each training image.

    Where several processes share a bank, ``lookup``, ``update`` and ``state_dict`` are collective:
    every process calls them, as often as the others, each with images of its own.

    Attributes:
        num_rows: N.
        embed_dim: D.
        dtype: of the rows that are handed out.
        communicator: the processes that share the bank.
        rows_per_lookup: how many rows a ``lookup`` should ask for at most; None leaves it to the
            caller.
    """

    num_rows: int
    embed_dim: int
    dtype: torch.dtype
    communicator: Communicator = SINGLE_PROCESS
    rows_per_lookup: int | None = None

    def __len__(self) -> int:
        return self.num_rows

    @property
    @abstractmethod
    def local_range(self) -> tuple[int, int]:
        """The first of the rows that are kept in this process, and the one after the last."""

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """Fetch the rows of some images.

        Args:
            indices: int64, of any shape.

        Returns:
            Rows in ``dtype``, of the shape of the indices plus D.
        """

    @abstractmethod
    def iter_chunks(self, rows: int) -> Iterator[Tensor]:
        """Visit the rows that are kept in this process.

        Args:
            rows: how many to hand out at a time.

        Yields:
            Rows in ``dtype``, at most ``rows``×D, in order.
        """

    @abstractmethod
    def update(self, indices: Tensor, embeddings: Tensor, momentum: float) -> None:
        """Move rows towards new embeddings: normalise(momentum·row + (1 − momentum)·embedding).

        Args:
            indices: B int64. An index that occurs twice gets the last of its embeddings.
            embeddings: B×D unit vectors.
            momentum: share of the old row that stays, in [0, 1].
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps: the whole bank, complete on rank 0."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint's rows, those that are kept in this process.

        Raises:
            SettingsError: where their number or type is not this bank's.
        """

    def as_tensor(self) -> Tensor | None:
        """Return all rows as one tensor in ``dtype``, uncopied; None if they are kept otherwise."""
        return None


class TensorBank(MemoryBank):
    """A plain N×D tensor seen as a memory bank; it is neither copied nor normalised."""

    def __init__(self, rows: Tensor) -> None:
        """
        Args:
            rows: N×D, fp32 or bf16.
        """
        self.rows = rows
        self.num_rows, self.embed_dim = rows.shape
        self.dtype = rows.dtype

    @property
    def local_range(self) -> tuple[int, int]:
        """The whole bank."""
        return 0, self.num_rows

    def lookup(self, indices: Tensor) -> Tensor:
        """Fetch the rows of some images; see :meth:`MemoryBank.lookup`."""
        # Much faster than self.rows[indices].
        return self.rows.index_select(0, indices.reshape(-1)).view(*indices.shape, -1)

    def iter_chunks(self, rows: int) -> Iterator[Tensor]:
        """Visit all rows; see :meth:`MemoryBank.iter_chunks`."""
        yield from self.rows.split(rows)

    @torch.no_grad()
    def update(self, indices: Tensor, embeddings: Tensor, momentum: float) -> None:
        """Move rows towards new embeddings; see :meth:`MemoryBank.update`."""
        embeddings = last_of_each(indices, embeddings)
        old = self.lookup(indices).float()
        moved = normalize(torch.lerp(embeddings.float(), old, momentum), dim=1)
        self.rows[indices] = moved.to(self.dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows; see :meth:`MemoryBank.state_dict`."""
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over rows; see :meth:`MemoryBank.load_state_dict`."""
        copy_state(self.state_dict(), state)

    def as_tensor(self) -> Tensor | None:
        """Return the tensor."""
        return self.rows


def as_bank(rows: MemoryBank | Tensor) -> MemoryBank:
    """See N×D unit rows as a memory bank.

    Example:
        >>> import torch
        >>> from pretrain.memory_bank import as_bank
        >>> as_bank(torch.eye(3)).lookup(torch.tensor([2]))
        tensor([[0., 0., 1.]])
    """
    return TensorBank(rows) if isinstance(rows, Tensor) else rows


def last_of_each(indices: Tensor, embeddings: Tensor) -> Tensor:
    """Replace each embedding by the last one of the same index.

    So no order of writing matters, and a GPU need not be waited for.

    Args:
        indices: B int64.
        embeddings: B×D.

    Returns:
        B×D, equal where the indices are equal.
    """
    ordered, order = indices.sort(stable=True)
    last = torch.searchsorted(ordered, indices, right=True) - 1
    return embeddings[order[last]]


def copy_state(target: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy a checkpoint's tensors over a bank's.

    Raises:
        SettingsError: where a shape or type differs; nothing after the first of them is copied.
    """
    for name, tensor in target.items():
        found = state[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise SettingsError(
                f"bank.{name} is {tuple(found.shape)} {found.dtype}, "
                f"expected {tuple(tensor.shape)} {tensor.dtype}"
            )
        tensor.copy_(found)
