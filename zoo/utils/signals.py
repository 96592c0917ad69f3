"""Stopping a run from outside, without losing anything."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any] | int | None


class Stopped(Exception):  # noqa: N818  no error: the run did what it was asked to
    """The run was asked to stop, and saved.

    Attributes:
        signal: the number of the signal that it got.
    """

    def __init__(self, number: int, run: Path) -> None:
        """
        Args:
            number: of the signal.
            run: the run's folder.
        """
        super().__init__(f"stopped and saved; go on with --resume --out {run}")
        self.signal = number


class Stop:
    """A flag that SIGTERM and Ctrl-C set; the loop looks at it after each step.

    Attributes:
        signal: the number of the signal that came last; None before.
    """

    signal: int | None = None

    @contextmanager
    def on_signals(self, last_words: bool = False) -> Iterator["Stop"]:
        """Handle both signals within the block, in the main thread; elsewhere nothing is handled.

        Args:
            last_words: whether they are handled still when an error has ended the block. When one
                of many processes dies, torchrun sends SIGTERM to the others at once; they would
                die before they could say what happened.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous: dict[signal.Signals, _Handler] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, self._note)
        try:
            yield self
        except BaseException:
            if not last_words:
                _restore(previous)
            raise
        _restore(previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number


def _restore(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
