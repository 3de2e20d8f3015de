"""The file of tokens: read whole, written whole, changed by one process at a time.

A new one is readable by its owner alone; one that is there stays whose it is, and for whom it is.
"""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gradloom import tokens
from gradloom.errors import InvalidInput
from gradloom.tokens import TokenBook
from gradloom.whole_files import SECRET, alone, whole_file

log = logging.getLogger(__name__)

FIELD = "tokens_file"


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
        with whole_file(path, SECRET, new=True) as file:
            file.write(f"{text}\n".encode("ascii"))
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
        with alone(path):
            changed = how(read(path) if path.exists() else TokenBook())
            _write(path, tokens.to_json(changed))
    except OSError as error:
        raise InvalidInput(FIELD, f"{path} can't be written: {error.strerror}") from None
    return changed


def _write(path: Path, text: str) -> None:
    with whole_file(path, SECRET) as file:
        if path.exists():
            _keep_readers(file.fileno(), path)
        file.write(text.encode())


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
