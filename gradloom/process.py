"""What every service process does the same way."""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gradloom import logs
from gradloom.errors import GradloomError, InvalidInput

REFUSED_STATUS = 2
"""Exit status of a service that could not start for a reason that it knows."""


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever is refused within is said in a sentence, and ends the process with REFUSED_STATUS."""
    try:
        yield
    except GradloomError as error:
        logs.refuse(error.message)
        raise SystemExit(REFUSED_STATUS) from None


def check_port_free(field: str, host: str, port: int) -> None:
    """Raise InvalidInput for ``field`` if nothing can listen there; gRPC's own message does not say what to do."""
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            words = getattr(error, "strerror", None) or str(error)
            is_taken = getattr(error, "errno", None) == errno.EADDRINUSE
            why = "is in use" if is_taken else f"can't be bound on {host}: {words}"
            raise InvalidInput(field, f"{port} {why}; choose another, or 0 for any free port") from None


def stop_at_end_of_stdin(stop: asyncio.Event) -> None:
    """Set ``stop`` when the other end of standard input is closed.

    A parent that holds the pipe thereby takes its children with it however it dies, on every system.
    """
    loop = asyncio.get_running_loop()
    fd = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(fd, 4096):
            loop.remove_reader(fd)
            stop.set()

    loop.add_reader(fd, readable)
