"""Tests that need the machine's network as it is, and those that change it: an interface comes or goes between the
former, never under them. Chromium drops whatever it is loading when one does (ERR_NETWORK_CHANGED)."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def still_network() -> Iterator[None]:
    """No interface comes or goes meanwhile; waits for whoever is changing one."""
    with _held(fcntl.LOCK_SH):
        yield


@contextmanager
def changing_network() -> Iterator[None]:
    """Waits for those who need it still; pytest's own limit ends that."""
    with _held(fcntl.LOCK_EX):
        yield


@contextmanager
def _held(kind: int) -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / "gradloom-tests-network.lock").open("w") as file:
        fcntl.flock(file, kind)
        yield
