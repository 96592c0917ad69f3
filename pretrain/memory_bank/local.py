"""The memory bank: one unit vector per image."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo import SettingsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_DRAWN = 1 << 16  # rows drawn at once; each process of a run draws all of them and keeps its own
_INT8 = 127.0  # entries of unit vectors lie in [-1, 1]; each row is scaled to use all 8 bits


class MemoryBank:
    """N×D unit rows, kept in fp32, bf16 or int8 with one scale per row.

    It reads like a tensor where the objectives need one: ``len``, ``shape``, ``dtype`` (of the rows it hands out),
    ``bank[index]`` and ``split``.
    """

    def __init__(self, rows: Tensor, kind: str = "float32") -> None:
        """
        Args:
            rows: N×D; normalised here.
            kind: how they are kept: ``float32``, ``bfloat16`` or ``int8``.
        """
        if kind not in DTYPES:
            raise SettingsError(f"unknown bank type {kind!r}; there are: {', '.join(DTYPES)}")
        self.kind, self.shape = kind, rows.shape
        self.dtype = torch.float32 if kind == "float32" else torch.bfloat16
        self.rows = torch.empty(rows.shape, dtype=DTYPES[kind], device=rows.device)
        self.scale = torch.ones(len(rows) if kind == "int8" else 0, device=rows.device)
        for start in range(0, len(rows), 1 << 16):
            at = torch.arange(start, min(start + (1 << 16), len(rows)), device=rows.device)
            self._write(at, F.normalize(rows[at].float(), dim=1))

    @classmethod
    def random(
        cls,
        size: int,
        dim: int,
        *,
        seed: int,
        kind: str = "float32",
        device: str = "cpu",
        span: tuple[int, int] | None = None,
    ) -> "MemoryBank":
        """Rows drawn evenly from the sphere; the same for a seed on every device.

        Args:
            span: keep only these of the ``size`` rows: the first, and the one after the last.
        """
        first, end = span or (0, size)
        rows = torch.empty(end - first, dim)
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, size, _DRAWN):
            drawn = torch.randn(min(_DRAWN, size - start), dim, generator=generator)
            at, to = max(first, start), min(end, start + len(drawn))
            if at < to:
                rows[at - first : to - first] = drawn[at - start : to - start]
        return cls(rows.to(device), kind)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Rows of the given images (any shape of indices, plus D), in ``dtype``."""
        rows = self.rows.index_select(0, index.reshape(-1)).view(
            *index.shape, -1
        )  # much faster than rows[index]
        return rows if self.kind != "int8" else (rows * self.scale[index][..., None]).to(self.dtype)

    def split(self, chunk: int) -> Iterator[Tensor]:
        """All rows, ``chunk`` at a time, in ``dtype``."""
        for start in range(0, len(self), chunk):
            rows = self.rows[start : start + chunk]
            yield (
                rows
                if self.kind != "int8"
                else (rows * self.scale[start : start + chunk, None]).to(self.dtype)
            )

    def read(self, index: Tensor) -> Tensor:
        """B×D fp32 rows of the given images."""
        return self[index].float()

    @torch.no_grad()
    def update(self, index: Tensor, v: Tensor, momentum: float) -> None:
        """Move rows towards new embeddings: row ← normalise(momentum·row + (1 − momentum)·v).

        Args:
            index: B int64. An index that occurs twice gets the last of its embeddings.
            v: B×D unit vectors.
            momentum: share of the old row that stays, in [0, 1].
        """
        # each takes the last embedding of its index: no order of writing matters, and a GPU is not waited for
        known, order = index.sort(stable=True)
        v = v[order[torch.searchsorted(known, index, right=True) - 1]]
        self._write(index, F.normalize(torch.lerp(v.float(), self.read(index), momentum), dim=1))

    def _write(self, index: Tensor, rows: Tensor) -> None:
        if self.kind == "int8":
            scale = rows.abs().amax(1).clamp_(min=1e-12) / _INT8
            self.scale[index] = scale
            rows = torch.round(rows / scale[:, None])
        self.rows[index] = rows.to(self.rows.dtype)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"rows": self.rows, **({"scale": self.scale} if self.kind == "int8" else {})}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over a checkpoint's rows, which must have this bank's size and type."""
        for name, mine in self.state().items():
            if state[name].shape != mine.shape or state[name].dtype != mine.dtype:
                raise SettingsError(
                    f"bank.{name} is {tuple(state[name].shape)} {state[name].dtype}, "
                    f"expected {tuple(mine.shape)} {mine.dtype}"
                )
            mine.copy_(state[name])
