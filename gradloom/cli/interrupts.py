"""SIGTERM treated as Ctrl-C, for commands that have something to stop in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Within it SIGTERM and SIGINT both raise KeyboardInterrupt in the main thread.

    SIGINT too, because a shell without job control starts its background commands with SIGINT ignored.
    """
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
