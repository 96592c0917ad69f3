"""What a terminal shows: progress with a rate and the time left, and tables."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from zoo.errors import printable
from zoo.utils.files import format_bytes

LINE_INTERVAL = 10.0  # seconds between lines of progress where there is no terminal

# without markup: a name with brackets is a name
out = Console(highlight=False, markup=False)
log = Console(stderr=True, highlight=False, markup=False)


class ProgressBar:
    """A count of images: a live bar on a terminal, plain lines elsewhere.

    Attributes:
        title: What is being done.
        total: Number of images in all.
        done: Number of images that are done.
    """

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        """Prepare the bar; :func:`progress_bar` shows it.

        Args:
            title: What is being done.
            total: Number of images in all.
            done: Number of images that were done before this process began.
        """
        self.title = title
        self.total = total
        self.done = done
        # The clock starts with the first images: what comes before them is no part of the rate.
        self._done_at_start = done
        self._start_time = 0.0
        self._last_line_time = 0.0
        self.is_live = log.is_terminal
        self.live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=log,
        )
        self._task = self.live.add_task(title, total=total, completed=done, rate="")

    def rate(self) -> float:
        """Return the images per second since the first ones."""
        seconds = time.monotonic() - self._start_time
        return (self.done - self._done_at_start) / max(seconds, 1e-9)

    def rate_text(self) -> str:
        """Return the rate as it is shown; a detector on a CPU may take seconds for one image."""
        rate = self.rate()
        return f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s"

    def add(self, images: int, note: str = "") -> None:
        """Count images that were just done.

        Args:
            images: How many.
            note: What to show beside the rate.
        """
        self.done += images
        if not self._start_time:
            self._start_time = time.monotonic()
            self._last_line_time = self._start_time
            self._done_at_start = self.done
            return
        if self.is_live:
            self.live.update(self._task, completed=self.done, rate=f"{self.rate_text()} {note}")
        elif time.monotonic() - self._last_line_time >= LINE_INTERVAL:
            self._last_line_time = time.monotonic()
            self._print_line(note)

    def _print_line(self, note: str) -> None:
        share = self.done / max(self.total, 1)
        time_left = _duration((self.total - self.done) / max(self.rate(), 1e-9))
        log.print(f"{self.title} {share:4.0%}  {self.rate_text()}  {time_left} left  {note}")


@contextmanager
def progress_bar(title: str, total: int, done: int = 0) -> Iterator[ProgressBar]:
    """Show a :class:`ProgressBar` within the block.

    Args:
        title: What is being done.
        total: Number of images in all.
        done: Number of images that were done before this process began.

    Yields:
        The bar, whose ``add`` counts.
    """
    bar = ProgressBar(title, total, done)
    if not bar.is_live:
        yield bar
        return
    with bar.live:
        yield bar


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, with numbers to the right; what is too wide is folded, never cut.

    Args:
        title: The line above the table.
        columns: The headings; no row of headings is shown where all are empty.
        rows: The cells; floats are shown with two digits after the point.
    """
    shown = Table(show_header=any(columns))
    for i, column in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        shown.add_column(_cell(column), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(_cell, row))
    # a table's own title would be folded to the table's width
    out.print(printable(title), soft_wrap=True)
    out.print(shown)


def print_files(folder: Path) -> None:
    """Print the files of a folder with their sizes."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            print(f"{path}  {format_bytes(path.stat().st_size)}")


def _cell(value: object) -> Text:
    """Show a value, letter by letter: in a table strings would be markup."""
    return Text(f"{value:.2f}" if isinstance(value, float) else printable(str(value)))
