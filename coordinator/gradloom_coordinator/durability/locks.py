"""One coordinator a folder: a lock that the system lets go of however its holder dies."""

import fcntl
from pathlib import Path
from typing import IO

from gradloom.errors import Conflict, Unavailable


def lock_file(path: Path, what: str) -> IO[bytes]:
    """Take the lock that stands for ``what``; closing what is returned lets go of it.

    Raises Conflict if another process has it, Unavailable if the file can't be made or locked.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise Unavailable(f"{path} can't be made: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Conflict(f"another coordinator works on {what}; stop it first") from None
    except OSError as error:
        file.close()
        raise Unavailable(f"{path} can't be locked: {error.strerror}") from error
    return file
