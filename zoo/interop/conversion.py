"""The report on a converted checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SHOWN_GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a file.

    Attributes:
        source: what was read.
        layout: how it was laid out.
        arch: the backbone that it holds.
        stem: the backbone's stem.
        embed_dim: dimensions of the embedding.
        used: {our name: name in the file}.
        ignored: names in the file without a place in a backbone, such as a queue or an optimizer's
            state.
        missing: names of ours that the file lacks and that were filled in as the notes say.
        bank: rows and dimensions (N, D), if there is a memory bank.
        notes: what the reader should know.
        path: what was written.
    """

    source: str
    layout: str
    arch: str
    stem: str
    embed_dim: int
    used: dict[str, str]
    ignored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    bank: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)
    path: Path | None = None

    def lines(self) -> list[str]:
        """Word the report, one statement a line."""
        lines = [
            f"{self.source}: layout of {self.layout}",
            f"backbone: {self.arch}, {self.stem} stem, {self.embed_dim}-d",
            f"used: {len(self.used)} tensors",
        ]
        if self.bank is None:
            lines.append("memory bank: none in the file")
        else:
            lines.append(f"memory bank: {self.bank[0]} rows of {self.bank[1]}")
        if self.ignored:
            lines.append(f"ignored: {len(self.ignored)} ({_grouped(self.ignored)})")
        if self.missing:
            lines.append(f"missing: {len(self.missing)} ({_grouped(self.missing)})")
        for note in self.notes:
            lines.append(f"note: {note}")
        if self.path is not None:
            lines.append(f"written: {self.path}")
        return lines


def _grouped(names: Sequence[str]) -> str:
    """Names by their first two parts, each with a count: an optimizer alone has hundreds."""
    counts: dict[str, int] = {}
    for name in names:
        start = ".".join(name.split(".")[:2])
        counts[start] = counts.get(start, 0) + 1
    groups = []
    for start, count in counts.items():
        groups.append(start if count == 1 else f"{start}.* ×{count}")
    if len(groups) > _SHOWN_GROUPS:
        more = len(groups) - _SHOWN_GROUPS
        groups = [*groups[:_SHOWN_GROUPS], f"and {more} more groups"]
    return ", ".join(groups)
