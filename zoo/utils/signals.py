"""Stopping a run from outside, without losing anything."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Stopped(Exception):
    """The run was asked to stop, and saved. ``signal`` is the number it got."""

    def __init__(self, number: int, run: Path) -> None:
        super().__init__(f"stopped and saved; go on with --resume --out {run}")
        self.signal = number


class Stop:
    """A flag that SIGTERM and Ctrl-C set; the loop looks at it after each step."""

    signal: int | None = None

    @contextmanager
    def on_signals(self, last_words: bool = False) -> Iterator["Stop"]:
        """Handle both signals within the block (in the main thread; elsewhere nothing is handled).

        Args:
            last_words: go on handling them when an error ends the block. When one of many processes dies, torchrun
                sends SIGTERM to the others at once; they would die before they could say what happened.
        """

        def note(number: int, frame: Any) -> None:
            self.signal = number

        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        keep = last_words
        try:
            yield self
            keep = False
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.getsignal(number) if keep else handler)
