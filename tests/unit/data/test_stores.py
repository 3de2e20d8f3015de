"""What is said of a storage behind a network, and what its file systems are made with."""

import errno
import io

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from gradloom.data.sources.opening import filesystem
from gradloom.data.sources.stores import RemoteFile, only_os_errors, options_for, storage_errors
from gradloom.errors import DataUnreachable, StorageAway

URI = "s3://bucket/x.parquet"
REMOTE = fsspec.filesystem("memory")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (FileNotFoundError("x"), DataUnreachable, "no such file"),
        (PermissionError("Forbidden"), DataUnreachable, "Forbidden; are its credentials right?"),
        (
            OSError(errno.EINVAL, "The bucket is not valid"),
            DataUnreachable,
            "can't be read: The bucket is not valid",
        ),
        (OSError(errno.EBUSY, "Slow down"), StorageAway, "can't be read now: Slow down"),
        (ConnectionResetError(), StorageAway, "can't be read now: ConnectionResetError"),
        (TimeoutError(), StorageAway, "can't be read now: TimeoutError"),
    ],
)
def test_an_error_says_whether_waiting_helps(error: Exception, kind: type, said: str) -> None:
    with pytest.raises(DataUnreachable) as raised, storage_errors(URI, REMOTE):
        raise error
    assert type(raised.value) is kind
    assert said in raised.value.message


def test_a_local_disk_and_a_programs_mistake_keep_their_errors() -> None:
    with pytest.raises(OSError, match="No space"), storage_errors("/data/x", LocalFileSystem()):
        raise OSError(errno.ENOSPC, "No space left")
    with pytest.raises(ZeroDivisionError), storage_errors(URI, REMOTE):
        raise ZeroDivisionError


def test_a_file_that_breaks_in_the_middle_passes_its_parser() -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("connection lost")  # no number: a parser would call the file damaged

    with RemoteFile(Torn(b"PAR1"), URI, REMOTE) as file, pytest.raises(StorageAway, match="connection lost"):
        file.read(4)


def test_what_the_environment_says_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_for(URI)["use_listings_cache"] is False
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 60}})
    assert "config_kwargs" not in options_for(URI)
    assert options_for("/data/x") == options_for("zip://a::s3://b/c") == {}


def test_s3s_own_tries_are_bounded() -> None:
    fs, path = filesystem(URI)
    assert (fs.retries, path) == (2, "bucket/x.parquet")
    assert fs.config_kwargs["retries"]["total_max_attempts"] == 3


def test_a_drivers_error_is_an_os_error_to_who_writes() -> None:
    with pytest.raises(OSError, match="s3://b: no endpoint"), only_os_errors("s3://b"):
        raise RuntimeError("no endpoint")
    with pytest.raises(StorageAway), only_os_errors("s3://b"):
        raise StorageAway(URI, "it burns")
