"""The memory bank of one process."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.memory_bank.bank import MemoryBank, copy_state, last_of_each
from zoo import SettingsError

STORAGE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_ROWS_DRAWN = 1 << 16  # at once; each process of a run draws all rows and keeps its own
_ROWS_WRITTEN = 1 << 16
_INT8_MAX = 127.0  # entries of unit vectors lie in [-1, 1]; each row is scaled to use all 8 bits


class LocalBank(MemoryBank):
    """A bank whose rows are all here, in fp32, bf16 or int8 with one scale per row.

    Attributes:
        storage: how the rows are kept: ``float32``, ``bfloat16`` or ``int8``.
        rows: N×D, as they are kept.
        scale: N, of an int8 bank; empty otherwise.
    """

    def __init__(self, rows: Tensor, storage: str = "float32") -> None:
        """
        Args:
            rows: N×D; normalised here.
            storage: how they are kept.

        Raises:
            SettingsError: for an unknown ``storage``.
        """
        if storage not in STORAGE_DTYPES:
            known = ", ".join(STORAGE_DTYPES)
            raise SettingsError(f"unknown bank type {storage!r}; there are: {known}")
        self.storage = storage
        self.num_rows, self.embed_dim = rows.shape
        self.dtype = row_dtype(storage)
        self.rows = torch.empty(rows.shape, dtype=STORAGE_DTYPES[storage], device=rows.device)
        num_scales = self.num_rows if storage == "int8" else 0
        self.scale = torch.ones(num_scales, device=rows.device)
        for start in range(0, self.num_rows, _ROWS_WRITTEN):
            end = min(start + _ROWS_WRITTEN, self.num_rows)
            indices = torch.arange(start, end, device=rows.device)
            self._write(indices, normalize(rows[indices].float(), dim=1))

    @classmethod
    def random(
        cls,
        num_rows: int,
        embed_dim: int,
        *,
        seed: int,
        storage: str = "float32",
        device: str = "cpu",
        local_range: tuple[int, int] | None = None,
    ) -> "LocalBank":
        """Draw rows evenly from the sphere; the same for a seed on every device.

        Args:
            num_rows: N.
            embed_dim: D.
            seed: of the drawing.
            storage: how the rows are kept.
            device: where.
            local_range: keep only these of the N rows: the first, and the one after the last.
        """
        first, end = local_range or (0, num_rows)
        rows = torch.empty(end - first, embed_dim)
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, num_rows, _ROWS_DRAWN):
            drawn = torch.randn(min(_ROWS_DRAWN, num_rows - start), embed_dim, generator=generator)
            kept_first = max(first, start)
            kept_end = min(end, start + len(drawn))
            if kept_first < kept_end:
                kept = drawn[kept_first - start : kept_end - start]
                rows[kept_first - first : kept_end - first] = kept
        return cls(rows.to(device), storage)

    @property
    def local_range(self) -> tuple[int, int]:
        """The whole bank."""
        return 0, self.num_rows

    def lookup(self, indices: Tensor) -> Tensor:
        """Fetch the rows of some images; see :meth:`MemoryBank.lookup`."""
        # Much faster than self.rows[indices].
        rows = self.rows.index_select(0, indices.reshape(-1)).view(*indices.shape, -1)
        if self.storage != "int8":
            return rows
        return (rows * self.scale[indices][..., None]).to(self.dtype)

    def iter_chunks(self, rows: int) -> Iterator[Tensor]:
        """Visit all rows; see :meth:`MemoryBank.iter_chunks`."""
        for start in range(0, self.num_rows, rows):
            chunk = self.rows[start : start + rows]
            if self.storage == "int8":
                chunk = (chunk * self.scale[start : start + rows, None]).to(self.dtype)
            yield chunk

    @torch.no_grad()
    def update(self, indices: Tensor, embeddings: Tensor, momentum: float) -> None:
        """Move rows towards new embeddings; see :meth:`MemoryBank.update`."""
        embeddings = last_of_each(indices, embeddings).float()
        moved = torch.lerp(embeddings, self.lookup(indices).float(), momentum)
        self._write(indices, normalize(moved, dim=1))

    def _write(self, indices: Tensor, rows: Tensor) -> None:
        if self.storage == "int8":
            scale = rows.abs().amax(1).clamp_(min=1e-12) / _INT8_MAX
            self.scale[indices] = scale
            rows = torch.round(rows / scale[:, None])
        self.rows[indices] = rows.to(self.rows.dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows, and an int8 bank's scales; see :meth:`MemoryBank.state_dict`."""
        if self.storage == "int8":
            return {"rows": self.rows, "scale": self.scale}
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over rows; see :meth:`MemoryBank.load_state_dict`."""
        copy_state(self.state_dict(), state)

    def as_tensor(self) -> Tensor | None:
        """Return all rows, uncopied; None of an int8 bank."""
        return None if self.storage == "int8" else self.rows


def row_dtype(storage: str) -> torch.dtype:
    """Return the type in which a bank hands out rows that it keeps in ``storage``."""
    return torch.float32 if storage == "float32" else torch.bfloat16


def storage_bytes(num_rows: int, embed_dim: int, storage: str) -> int:
    """Count the bytes that a bank allocates for its rows."""
    scale_bytes = 4 if storage == "int8" else 0
    return num_rows * (embed_dim * STORAGE_DTYPES[storage].itemsize + scale_bytes)


def chunk_bytes(num_rows: int, embed_dim: int, storage: str) -> int:
    """Count the bytes that ``iter_chunks`` allocates to hand out so many rows at a time."""
    if storage != "int8":
        return 0
    return num_rows * embed_dim * (4 + row_dtype(storage).itemsize)  # by way of fp32


def lookup_bytes(num_rows: int, embed_dim: int, storage: str) -> int:
    """Count the bytes that ``lookup`` allocates for so many rows."""
    by_way_of_fp32 = 4 if storage == "int8" else 0
    return num_rows * embed_dim * (row_dtype(storage).itemsize + by_way_of_fp32)
