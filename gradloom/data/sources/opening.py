"""Files at URIs, through fsspec: local paths, ``s3://``, ``gs://``, ``memory://`` and whatever else it knows.

Bytes only; nothing here knows a format. A missing or forbidden file is DataUnreachable; a storage that does not answer
is StorageAway, for trying again may help. What a service may not read for others is refused before and after it is
opened.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
import xxhash

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.sources.stores import (
    RemoteFile,
    bound,
    is_local,
    missing_driver,
    options_for,
    storage_errors,
)
from gradloom.errors import DataError, DataNotAllowed

BLOCK_BYTES = 8 << 20
FINGERPRINT_BYTES = 64 << 10


def filesystem(uri: str, allowed: DataAllowed = EVERYTHING) -> tuple[Any, str]:
    """The fsspec file system of ``uri`` and the path in it.

    Raises DataNotAllowed before fsspec sees what may not be read, and DataError for an unknown protocol or a package
    that is not here.
    """
    allowed.check(uri)
    try:
        fs, path = fsspec.core.url_to_fs(uri, **options_for(uri))
    except ImportError as error:
        raise DataError(uri, f"can't be opened: {missing_driver(uri) or error}") from error
    except ValueError as error:
        raise DataError(uri, f"can't be opened: {error}") from error
    bound(fs)
    return fs, str(path)


@contextmanager
def open_file(uri: str, allowed: DataAllowed = EVERYTHING) -> Iterator[BinaryIO]:
    """Open for reading bytes.

    Raises DataUnreachable if there is no such file or it may not be read, StorageAway (here, and whenever it is read)
    if what holds it does not answer, DataNotAllowed if this service may not read it for others, DataError for what
    is no file.
    """
    fs, path = filesystem(uri, allowed)
    with storage_errors(uri, fs):
        if is_local(fs):
            file = _open_local(uri, path, allowed)
        else:
            file = cast("BinaryIO", RemoteFile(fs.open(path, "rb"), uri, fs))
    with file:
        yield file


def _open_local(uri: str, path: str, allowed: DataAllowed) -> BinaryIO:
    """A file of this machine, looked at once it is open: whatever its name leads to by now no longer matters."""
    check_path(uri, path, allowed)
    # without O_NONBLOCK opening a pipe would wait for somebody who writes to it
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_kind(uri, os.fstat(handle).st_mode)
        if not allowed.everything:
            _check_opened(uri, path, handle, allowed)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_kind(uri: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(uri)
    if not stat.S_ISREG(mode):
        raise DataError(uri, "is no regular file; a pipe or a device can't be read in parts")


def check_path(uri: str, path: str, allowed: DataAllowed) -> None:
    """Refuse a local file or folder by where its links lead now. Raises DataNotAllowed."""
    if not allowed.everything:
        allowed.check_real(uri, os.path.realpath(path), map(os.path.realpath, allowed.local_paths))


def _check_opened(uri: str, path: str, handle: int, allowed: DataAllowed) -> None:
    """Refuse what was opened by the kernel's own word of where it is; without that, by being the file of that name."""
    real = ""
    with suppress(OSError):
        real = str(Path(f"/proc/self/fd/{handle}").readlink())
    if not real:
        real = os.path.realpath(path)
        if not os.path.samestat(os.fstat(handle), Path(real).lstat()):
            raise DataNotAllowed(uri, "was exchanged while it was opened")
    allowed.check_real(uri, real, map(os.path.realpath, allowed.local_paths))


def size_of(file: BinaryIO) -> int:
    """Size in bytes; leaves the position at the end."""
    return file.seek(0, 2)


def read_exactly(file: BinaryIO, n_bytes: int, uri: str) -> bytes:
    """The next ``n_bytes``. Raises DataError where the file ends before them."""
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise DataError(uri, f"is cut short: {n_bytes} bytes were expected, {len(data)} are there")
    return data


def read_range(uri: str, start: int, stop: int, allowed: DataAllowed = EVERYTHING) -> bytes:
    """The bytes ``[start, stop)``. Raises DataError where the file ends before them."""
    with open_file(uri, allowed) as file:
        file.seek(start)
        return read_exactly(file, stop - start, uri)


def blocks(file: BinaryIO, start: int, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The bytes from ``start`` to the end, in blocks."""
    file.seek(start)
    while block := file.read(block_bytes):
        yield block


def fingerprint(file: BinaryIO) -> str:
    """XXH3-64 of the size (8 bytes, little-endian), the first and the last 64 KiB; hex.

    Cheap on object stores, and the same wherever the same file is mounted. Source: Collet, xxHash, XXH3.
    """
    size = size_of(file)
    file.seek(0)
    head = file.read(FINGERPRINT_BYTES)
    file.seek(max(0, size - FINGERPRINT_BYTES))
    tail = file.read(FINGERPRINT_BYTES)
    return xxhash.xxh3_64_hexdigest(size.to_bytes(8, "little") + head + tail)
