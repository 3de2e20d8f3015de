"""What storage behind a network needs that a disk does not: bounded waiting, fresh listings, errors as one sentence.

No request is made here but through the file that is read; nothing here knows a format or a cluster.
"""

import errno
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.config import conf
from fsspec.implementations.local import LocalFileSystem

from gradloom.data.allowed import OBJECT_STORES, split_uri
from gradloom.data.upload_names import is_upload
from gradloom.errors import DataError, DataUnreachable, GradloomError, StorageAway
from gradloom.whole_files import PUBLIC, write_whole

_BLOCK_BYTES = 8 << 20
_REQUEST = {
    "connect_timeout": 5,
    "read_timeout": 15,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
_S3: dict[str, object] = {"default_block_size": _BLOCK_BYTES, "config_kwargs": _REQUEST}
_OPTIONS: dict[str, dict[str, object]] = {"s3": _S3, "s3a": _S3, "gs": {}, "gcs": {}}
_TRIES = 2
"""Of s3fs, around those of botocore: together a request that nobody answers takes a minute and a half."""
_DRIVERS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_DRIVER_MODULES = frozenset(
    {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure", "adlfs", "fsspec"}
)
_NO_CREDENTIALS = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
        *("TokenRetrievalError", "DefaultCredentialsError", "RefreshError"),
    }
)
_OUR_FAULT = frozenset({errno.EINVAL, errno.ENAMETOOLONG, errno.ENOSYS, errno.EPERM})
"""What stays wrong however often it is tried: a name that is none, a region that is another."""


def options_for(uri: str) -> dict[str, object]:
    """What the file system of a URI is made with; what the environment says to fsspec comes first."""
    scheme, _ = split_uri(uri)
    if scheme not in _OPTIONS or "::" in uri:
        return {}
    # a listing that is kept for ever would hide files that are new, and the sizes of those that changed
    wanted = {"use_listings_cache": False, **_OPTIONS[scheme]}
    said = conf.get(scheme, {})
    return {name: value for name, value in wanted.items() if name not in said}


def bound(fs: Any) -> None:
    """Let a file system's own tries come to an end soon."""
    if type(fs).__name__ == "S3FileSystem":
        fs.retries = _TRIES


def missing_driver(uri: str) -> str:
    """How to have the package that reads URIs of this kind; empty if it is none that we name an extra for."""
    scheme, _ = split_uri(uri)
    if scheme not in _DRIVERS:
        return ""
    package, extra = _DRIVERS[scheme]
    return f"{scheme}:// needs {package}, which is not installed here: pip install 'gradloom[{extra}]'"


def is_local(fs: object) -> bool:
    """Whether a file system is this machine's own."""
    return isinstance(fs, LocalFileSystem)


def is_object_store(fs: Any) -> bool:
    """Whether it knows buckets and objects, and no folders."""
    names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return not OBJECT_STORES.isdisjoint(names)


def make_folder(fs: Any, path: str) -> None:
    """Make a folder where there are such; nothing in an object store. Raises what the file system does.

    For an object store fsspec would make a bucket of whatever name stands there, a misspelt one too.
    """
    if not is_object_store(fs):
        fs.makedirs(path, exist_ok=True)


def write_object(fs: Any, folder: str, name: str, content: Iterable[bytes]) -> None:
    """Write a file or an object, whole or not at all; its folder is made. Raises what the file system does."""
    make_folder(fs, folder)
    path = f"{folder}/{name}"
    if is_local(fs):
        write_whole(Path(path), content, PUBLIC)
    else:
        fs.pipe_file(path, b"".join(content))


def check_bucket(fs: Any, path: str, uri: str) -> None:
    """Raise DataUnreachable if an object store says that there is no such bucket, and whatever else it raises."""
    if not is_object_store(fs):
        return
    bucket = path.lstrip("/").split("/")[0]
    try:
        fs.info(bucket)
    except FileNotFoundError as error:
        raise DataUnreachable(uri, f"there is no bucket {bucket!r}") from error


@contextmanager
def storage_errors(uri: str, fs: object) -> Iterator[None]:
    """Whatever a file system raises as one of our own.

    Raises DataUnreachable for what is not there or may not be read, StorageAway for a storage that does not answer,
    DataError for what is no file. A local disk's other errors stay what they are, and so do a program's.
    """
    try:
        yield
    except GradloomError:
        raise
    except Exception as error:
        if (told := _told(uri, fs, error)) is None:
            raise
        raise told from error


@contextmanager
def only_os_errors(where: str) -> Iterator[None]:
    """What a file system raises as an OSError, whichever driver it comes from; our own errors stay."""
    try:
        yield
    except (OSError, GradloomError):
        raise
    except Exception as error:
        raise OSError(f"{where}: {error}") from error


def _told(uri: str, fs: object, error: Exception) -> DataError | None:
    match error:
        case FileNotFoundError():
            return DataUnreachable(uri, f"no such file{_cure(uri)}")
        case IsADirectoryError():
            return DataError(uri, "is a directory, not a file")
        case PermissionError():
            said = "permission denied" if is_local(fs) else f"{_words(error)}; are its credentials right?"
            return DataUnreachable(uri, f"may not be read: {said}{_cure(uri)}")
    if is_local(fs) or not (isinstance(error, OSError) or _is_drivers(error)):
        return None
    if type(error).__name__ in _NO_CREDENTIALS:
        return DataUnreachable(uri, f"may not be read: this process has no credentials: {_words(error)}")
    if isinstance(error, OSError) and error.errno in _OUR_FAULT:
        return DataUnreachable(uri, f"can't be read: {_words(error)}")
    return StorageAway(uri, f"can't be read now: {_words(error)}")


def _is_drivers(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in _DRIVER_MODULES for kind in type(error).__mro__)


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _cure(uri: str) -> str:
    if not is_upload(uri):
        return ""
    return (
        " here: a client sent it to the coordinator; start that with --upload-uri naming a folder that all workers"
        " can read, or its data_dir where they can"
    )


class RemoteFile(io.RawIOBase):
    """A file behind a network whose errors are ours wherever they come up, below whatever parses it.

    A parser takes an OSError for a damaged file; ours pass through it.
    """

    def __init__(self, file: Any, uri: str, fs: object) -> None:
        self._file, self._uri, self._fs = file, uri, fs

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """As files do. Raises DataUnreachable, StorageAway."""
        with storage_errors(self._uri, self._fs):
            data: bytes = self._file.read(-1 if size is None else size)
            return data

    def readall(self) -> bytes:
        """The rest. Raises DataUnreachable, StorageAway."""
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        """As files do. Raises DataUnreachable, StorageAway."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As files do."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """As files do."""
        return int(self._file.tell())

    def close(self) -> None:
        """As files do."""
        if not self.closed:
            self._file.close()
        super().close()
