"""The file of tokens: read whole, written whole, changed by one process at a time.

A new one is readable by its owner alone; one that is there stays whose it is, and for whom it is.
"""

import fcntl
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gradloom import tokens
from gradloom.errors import Conflict, InvalidInput
from gradloom.tokens import TokenBook

log = logging.getLogger(__name__)

FIELD = "tokens_file"
LOCK_LIMIT_S = 10.0
LOCK_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when it was looked at: another one, or a changed one, differs."""

    device: int
    inode: int
    mtime_ns: int
    size: int


def look(path: Path) -> Seen:
    """How the file is now. Raises InvalidInput if it is not there or everybody may write it."""
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidInput(FIELD, f"{path} can't be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput(FIELD, f"{path} is not a file")
    if found.st_mode & stat.S_IWOTH:
        raise InvalidInput(
            FIELD, f"everybody on this machine may write {path}, and so let themselves in; chmod 600"
        )
    return Seen(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def read(path: Path) -> TokenBook:
    """The tokens of a file. Raises InvalidInput naming it."""
    look(path)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(tokens.MAX_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(FIELD, f"{path} can't be read: {error}") from None
    if len(text) > tokens.MAX_FILE_BYTES:
        raise InvalidInput(FIELD, f"{path} is longer than {tokens.MAX_FILE_BYTES} bytes")
    return tokens.from_json(text, f"{FIELD}: {path}")


@contextmanager
def secret_kept(path: Path | None, text: str) -> Iterator[None]:
    """Keep a token in a file of its own, for its owner alone, if what is done meanwhile succeeds; None = nowhere.

    Raises InvalidInput if the file is there already, or can't be written.
    """
    if path is None:
        yield
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise InvalidInput("out", f"{path} can't be written: {error.strerror}") from None
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def change(path: Path, how: Callable[[TokenBook], TokenBook]) -> TokenBook:
    """Change the file, all or nothing, while nobody else does; one that is not there is made. The new tokens.

    Raises InvalidInput for a file that can't be read or written, Conflict if another process holds it too long, and
    what ``how`` raises.
    """
    try:
        with _alone(path):
            changed = how(read(path) if path.exists() else TokenBook())
            _write(path, tokens.to_json(changed))
    except OSError as error:
        raise InvalidInput(FIELD, f"{path} can't be written: {error.strerror}") from None
    return changed


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock beside the file, for the file itself is replaced."""
    beside = path.with_name(f"{path.name}.lock")
    handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(handle, path)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict(f"another process has been changing {path} for {LOCK_LIMIT_S:g} s") from None
            time.sleep(LOCK_PAUSE_S)
        else:
            return


def _write(path: Path, text: str) -> None:
    path = path.resolve()  # a link stays a link
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # for its owner alone
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if path.exists():
                _keep_readers(handle, path)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _keep_readers(handle: int, path: Path) -> None:
    """Give the file that replaces another its owner, group and mode: the coordinator may be neither of us."""
    before, ours = path.stat(), os.fstat(handle)
    mode = stat.S_IMODE(before.st_mode)
    has_group = _given(handle, ours.st_gid, -1, before.st_gid)
    os.fchmod(handle, mode if has_group else mode & ~stat.S_IRWXG)
    # last: whoever has given a file away may not change it any more
    has_owner = _given(handle, ours.st_uid, before.st_uid, -1)
    if has_group and has_owner:
        return
    log.warning(
        "%s belonged to user %d and group %d, which only root can give it back: chown it. A coordinator that can't"
        " read it lets nobody new in, AND REVOKES NOTHING",
        path,
        before.st_uid,
        before.st_gid,
    )


def _given(handle: int, now: int, owner: int, group: int) -> bool:
    if now == max(owner, group):
        return True
    try:
        os.fchown(handle, owner, group)
    except OSError:
        return False
    return True
