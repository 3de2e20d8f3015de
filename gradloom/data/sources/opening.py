"""Files at URIs, through fsspec: local paths, ``s3://``, ``gs://``, ``memory://`` and whatever else it knows.

Bytes only; nothing here knows a format. A missing or forbidden file is DataUnreachable; a network that fails stays
an OSError, for trying again may help.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import fsspec
import xxhash

from gradloom.data.upload_names import is_upload
from gradloom.errors import DataError, DataUnreachable

BLOCK_BYTES = 8 << 20
FINGERPRINT_BYTES = 64 << 10


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of ``uri`` and the path in it. Raises DataError for an unknown protocol."""
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise DataError(uri, f"can't be opened: {error}") from error
    return fs, str(path)


@contextmanager
def open_file(uri: str) -> Iterator[BinaryIO]:
    """Open for reading bytes. Raises DataUnreachable if there is no such file, or it may not be read."""
    fs, path = filesystem(uri)
    try:
        file = fs.open(path, "rb")
    except FileNotFoundError as error:
        raise DataUnreachable(uri, f"no such file{_cure(uri)}") from error
    except IsADirectoryError as error:
        raise DataError(uri, "is a directory, not a file") from error
    except PermissionError as error:
        raise DataUnreachable(uri, f"may not be read: permission denied{_cure(uri)}") from error
    with file:
        yield cast("BinaryIO", file)


def _cure(uri: str) -> str:
    if not is_upload(uri):
        return ""
    return (
        " here: a client sent it to the coordinator; start that with --upload-uri naming a folder that all workers"
        " can read, or its data_dir where they can"
    )


def size_of(file: BinaryIO) -> int:
    """Size in bytes; leaves the position at the end."""
    return file.seek(0, 2)


def read_exactly(file: BinaryIO, n_bytes: int, uri: str) -> bytes:
    """The next ``n_bytes``. Raises DataError where the file ends before them."""
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise DataError(uri, f"is cut short: {n_bytes} bytes were expected, {len(data)} are there")
    return data


def read_range(uri: str, start: int, stop: int) -> bytes:
    """The bytes ``[start, stop)``. Raises DataError where the file ends before them."""
    with open_file(uri) as file:
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
