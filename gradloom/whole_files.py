"""Files that appear whole or not at all, by one process at a time. POSIX only, as the services are."""

import errno
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gradloom.errors import Conflict

LOCK_LIMIT_S = 10.0
LOCK_PAUSE_S = 0.02
SECRET = 0o600
PUBLIC = 0o644
NO_NAMES_TO_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES})
"""Some file systems know no such thing, and some folders may be written but not opened."""


def write_whole(path: Path, content: bytes | Iterable[bytes], mode: int | None) -> None:
    """Replace a file at once by these bytes, or these pieces of it; see ``whole_file``. Raises OSError."""
    with whole_file(path, mode) as file:
        file.writelines([content] if isinstance(content, bytes) else content)


@contextmanager
def whole_file(path: Path, mode: int | None, *, new: bool = False) -> Iterator[IO[bytes]]:
    """A file to write that takes its place at the end, flushed to the disk with its name, or vanishes on an error.

    ``mode``: its permissions; None = as the umask has them. A link to a file stays a link. ``new``: only a name that is
    free is taken. Raises OSError, FileExistsError for a name that is not free.
    """
    place = path.absolute() if new else Path(os.path.realpath(path))
    beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(beside, flags, 0o666 if mode is None else SECRET)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(handle, mode)
            yield file
            file.flush()
            os.fsync(handle)
        if new:
            os.link(beside, place)  # unlike a rename it overwrites nothing
        else:
            beside.replace(place)
        _flush_names(place.parent)
    finally:
        beside.unlink(missing_ok=True)


def _flush_names(folder: Path) -> None:
    """After a power cut the file is there, by its name."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_NAMES_TO_FLUSH:
            raise


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Whatever is done within, no other process does it to this folder, or file, beside which a lock then lies.

    Raises Conflict after LOCK_LIMIT_S, OSError.
    """
    handle = _lock_of(path)
    try:
        deadline = time.monotonic() + LOCK_LIMIT_S
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise Conflict(f"another process has been changing {path} for {LOCK_LIMIT_S:g} s")
            time.sleep(LOCK_PAUSE_S)
        yield
    finally:
        os.close(handle)


def _lock_of(path: Path) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # not the file itself, for that is replaced
    return os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET)


def _locked(handle: int) -> bool:
    import fcntl  # whoever only writes a file needs none of it

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
