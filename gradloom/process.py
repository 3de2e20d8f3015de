"""What every service process does the same way."""

import asyncio
import os
import sys


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
