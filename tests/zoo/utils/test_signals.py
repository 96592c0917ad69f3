import os
import signal
import threading

import pytest

from zoo.utils.signals import Stop


@pytest.fixture
def before():
    """A handler of the test's own, to find again after the block."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield handlers
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_handlers_come_back(before, number):
    with Stop().on_signals() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
    assert signal.getsignal(number) == before[number]


@pytest.mark.parametrize("last_words", [False, True])
def test_after_an_error_signals_are_handled_on_where_that_is_asked(before, last_words):
    stop = Stop()
    with pytest.raises(RuntimeError), stop.on_signals(last_words=last_words):
        raise RuntimeError
    assert (signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]) == last_words


def test_outside_the_main_thread_nothing_is_handled(before):
    seen = []

    def look():
        with Stop().on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before[signal.SIGTERM]]
