"""Waits for a storage that does not answer, for a while: a task that fails costs its job one of few tries."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from gradloom.errors import StorageAway

log = logging.getLogger(__name__)
T = TypeVar("T")

LIMIT_S = 30.0
"""Then the coordinator hears why, tells who watches, and has another worker try."""
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 5.0


def patiently(
    read: Callable[[], T],
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """What ``read`` returns, tried again while the storage is away. Raises what it does, StorageAway after LIMIT_S."""
    give_up_at, pause = clock() + LIMIT_S, FIRST_PAUSE_S
    while True:
        try:
            return read()
        except StorageAway as error:
            if clock() + pause > give_up_at:
                raise
            if pause == FIRST_PAUSE_S:
                log.warning("%s; trying again for %g s", error, LIMIT_S)
        wait(pause)
        pause = min(2 * pause, MAX_PAUSE_S)
