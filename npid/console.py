"""What a terminal shows: progress with a rate and the time left, and tables."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_EVERY = 10.0  # seconds between lines where there is no terminal

out = Console(highlight=False)
log = Console(stderr=True, highlight=False)


class Counter:
    """Counts images: a live bar on a terminal, plain lines elsewhere."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        """
        Args:
            what: is being done.
            total: images in all.
            done: images that were done before this process began.
        """
        self.what, self.total, self.done, self.first = what, total, done, done
        self.began = self.told = (
            0.0  # by the first images: what comes before them is no part of the rate
        )
        self.live = log.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
        )
        self.bar = Progress(
            *columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=log
        )
        self.task = self.bar.add_task(what, total=total, completed=done, rate="")

    def rate(self) -> float:
        """Images per second since the first ones."""
        return (self.done - self.first) / max(time.monotonic() - self.began, 1e-9)

    def speed(self) -> str:
        """The rate as it is shown; a detector on a CPU may not see one image in a second."""
        rate = self.rate()
        return f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s"

    def add(self, images: int, note: str = "") -> None:
        """Count some more images; the note goes beside the rate."""
        if not self.began:
            self.began = self.told = time.monotonic()
            self.first = self.done = self.done + images
            return
        self.done += images
        if self.live:
            self.bar.update(self.task, completed=self.done, rate=f"{self.speed()} {note}")
        elif time.monotonic() - self.told >= PLAIN_EVERY:
            self.told = time.monotonic()
            left = (self.total - self.done) / max(self.rate(), 1e-9)
            share = self.done / max(self.total, 1)
            log.print(f"{self.what} {share:4.0%}  {self.speed()}  {_duration(left)} left  {note}")


@contextmanager
def counter(what: str, total: int, done: int = 0) -> Iterator[Counter]:
    """A :class:`Counter` that is shown within the block."""
    count = Counter(what, total, done)
    if not count.live:
        yield count
        return
    with count.bar:
        yield count


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers to the right. What is too wide is folded, never cut; no heading where all are empty."""
    shown = Table(show_header=any(columns))
    for i, column in enumerate(columns):
        number = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        shown.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    out.print(
        title, soft_wrap=True
    )  # above: a table's own title is folded to the width of the table
    out.print(shown)
