"""Data from memory on its way to where workers can read it: into a folder that they share, or to the coordinator.

What is sent is written to a temporary file first: its size is known then, and a broken call can be made again.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from gradloom.data.upload_names import ColumnNames, upload_name
from gradloom.errors import GradloomError, Unavailable

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadedData:
    """A data set that was in memory, where workers can read it; leaving it as a context manager deletes it."""

    uri: str
    """The file, as the ``data`` of a job."""
    columns: ColumnNames
    """What its target and weight are called."""
    _delete: Callable[[], None]

    def delete(self) -> None:
        """Remove the data; where jobs still use it, once they have ended. Deleting twice does nothing."""
        self._delete()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.delete()
        except GradloomError:  # it goes by itself after a while; what happened before matters more
            if kind is None:
                raise


Write = Callable[[IO[bytes]], ColumnNames]


def write_beside(folder: str, write: Write) -> UploadedData:
    """Put a data set into a folder that all workers can read. Raises Unavailable if it can't be written."""
    from gradloom.data.sources.opening import filesystem
    from gradloom.data.sources.stores import make_folder, only_os_errors

    uri = f"{folder.rstrip('/')}/{upload_name(time.time())}"
    fs, path = filesystem(uri)

    def delete() -> None:
        if fs.exists(path):
            fs.rm_file(path)

    try:
        with only_os_errors(folder):
            make_folder(fs, path.rpartition("/")[0])
            opened = fs.open(path, "wb")
        with opened as file:
            columns = write(file)
    except OSError as error:
        with suppress(Exception):  # why it can't be written matters more
            delete()
        raise Unavailable(f"the data can't be written to {folder}: {error}") from error
    except BaseException:
        delete()
        raise
    return UploadedData(uri, columns, delete)


def write_and_send(
    write: Write, send: Callable[[Callable[[], Iterator[bytes]]], tuple[str, Callable[[], None]]]
) -> UploadedData:
    """Send a data set to the coordinator. ``send`` is given what makes its chunks, once for every try.

    It returns the URI, and how to delete what is there.
    """
    with tempfile.TemporaryFile(prefix="gradloom-") as file:
        columns = write(file)
        uri, delete = send(lambda: _chunks(file))
    return UploadedData(uri, columns, delete)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def writing(X: object, y: object, sample_weight: object, feature_names: Sequence[str] | None) -> Write:
    """What writes these rows to a file; see ``gradloom.data.uploads``."""
    from gradloom.data.uploads import write_data

    return lambda file: write_data(file, X, y, sample_weight, feature_names)
