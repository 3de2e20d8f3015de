"""Small files that are written whole or not at all, by one process at a time. POSIX only, as the services are."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradloom.errors import Conflict

LOCK_LIMIT_S = 10.0
LOCK_PAUSE_S = 0.02
SECRET = 0o600
PUBLIC = 0o644


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once, with these permissions; a link stays a link. Raises OSError."""
    path = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # for its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Whatever is done within, no other process does it to this folder. Raises Conflict after LOCK_LIMIT_S."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_LIMIT_S
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise Conflict(f"another process has been changing {folder} for {LOCK_LIMIT_S:g} s")
            time.sleep(LOCK_PAUSE_S)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
