"""Data sets that clients send from their memory: kept in one folder until nobody needs them any more.

Bytes only: what the files hold is for the workers that read them. The event loop owns the table; files are touched
in threads.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from gradloom.data.sources.opening import filesystem
from gradloom.data.sources.stores import make_folder, only_os_errors
from gradloom.data.upload_names import is_upload, upload_name
from gradloom.errors import DataError, InvalidInput, NotInTime, Overloaded, Unavailable
from gradloom.settings import CoordinatorSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

SILENCE_LIMIT_S = 60.0
"""A client that sends nothing for so long is not waited for: what it began holds a stream and room."""
FILE_LIMIT_S = 30.0
"""How long the folder may take over one thing, the waiting for a thread included."""
THREADS = 8


@dataclass(slots=True)
class Upload:
    """One file that was taken in."""

    upload_id: str
    """Its name in the folder."""
    uri: str
    size_bytes: int
    last_used: float
    unwanted: bool = False
    """Whether its client has said that it is not needed any more."""


class Uploads:
    """The uploads of one coordinator. ``clock`` gives seconds that only grow."""

    def __init__(self, settings: CoordinatorSettings, clock: Callable[[], float]) -> None:
        self._folder = (settings.upload_uri or str(settings.data_dir / "uploads")).rstrip("/")
        if settings.upload_uri:
            _check(settings.upload_uri)
        self._limit_bytes = settings.upload_limit_bytes
        self._keep_s = settings.upload_keep_s
        self._clock = clock
        self._kept: dict[str, Upload] = {}
        self._arriving: dict[str, int] = {}
        """Bytes so far of those that are not whole yet."""
        self._looked = False
        # threads of its own: a dead mount must not take those that everybody else needs
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="uploads")

    async def take(self, chunks: AsyncIterator[bytes]) -> Upload:
        """Write the chunks as one file. Raises InvalidInput, Overloaded or Unavailable; nothing is left then."""
        name = upload_name(time.time())
        uri = f"{self._folder}/{name}"
        self._arriving[name] = 0
        try:
            await self._write(name, uri, chunks)
            kept = self._kept[name] = Upload(name, uri, self._arriving[name], self._clock())
        except BaseException as error:  # a client that went away in the middle too
            await asyncio.shield(self._removed(uri))
            if isinstance(error, OSError):
                raise Unavailable(f"the upload can't be written to {self._folder}: {error}") from error
            raise
        finally:
            del self._arriving[name]
        log.info("upload %s: %d bytes", uri, kept.size_bytes)
        return kept

    async def _write(self, name: str, uri: str, chunks: AsyncIterator[bytes]) -> None:
        file = await self._in_thread(_do, uri, _create, uri)
        try:
            async for chunk in _punctual(chunks):
                self._arriving[name] += len(chunk)
                self._check_room(self._arriving[name])
                await self._in_thread(_do, uri, file.write, chunk)
        finally:
            await self._in_thread(_do, uri, file.close)

    async def _in_thread(self, work: Callable[..., T], *given: object) -> T:
        """Touch files beside the event loop. Raises NotInTime, and what the work raises."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *given))
        try:
            async with asyncio.timeout(FILE_LIMIT_S) as limit:
                return await working
        except TimeoutError:
            if not limit.expired():  # the file system's own
                raise
            raise NotInTime(f"{self._folder} did not answer within {FILE_LIMIT_S:g} s") from None

    async def _removed(self, uri: str) -> None:
        """Remove a file, or say that it stays."""
        try:
            await self._in_thread(_remove, uri)
        except NotInTime as error:
            log.warning("the upload %s can't be removed: %s", uri, error.message)

    def _check_room(self, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            raise InvalidInput(
                "upload",
                f"is larger than {self._limit_bytes} bytes, which is all that this coordinator takes"
                " (--upload-limit); write the data to files that workers can read",
            )
        held = sum(kept.size_bytes for kept in self._kept.values()) + sum(self._arriving.values())
        if held > self._limit_bytes:
            raise Overloaded(
                f"the uploads that are kept take {held} bytes, and at most {self._limit_bytes} are allowed"
                " (--upload-limit); some go when their jobs end"
            )

    async def remove(self, upload_id: str, in_use: Iterable[str]) -> None:
        """Remove an upload, now or when the jobs that use it have ended. Raises InvalidInput for no id of one."""
        if not is_upload(upload_id) or "/" in upload_id:
            raise InvalidInput("upload_id", f"{upload_id!r} is no id of an upload")
        if upload_id in self._kept:
            self._kept[upload_id].unwanted = True
            await self.sweep(in_use)

    async def sweep(self, in_use: Iterable[str]) -> None:
        """Remove what no job uses: at once if it is unwanted, else when it was not used for a while.

        ``in_use``: the URIs that jobs read which have not ended.
        """
        await self._look_for_older()
        now, used = self._clock(), frozenset(in_use)
        for kept in list(self._kept.values()):
            if kept.uri in used:
                kept.last_used = now
            elif kept.unwanted or now - kept.last_used >= self._keep_s:
                self._kept.pop(kept.upload_id, None)
                await self._removed(kept.uri)

    async def _look_for_older(self) -> None:
        """Once: take over what a coordinator before us has left in the folder, or a client on this machine."""
        if self._looked:
            return
        self._looked = True
        try:
            listed = await self._in_thread(_listed, self._folder)
        except NotInTime:
            self._looked = False
            raise
        for name, size_bytes in listed:
            if name not in self._kept and name not in self._arriving:
                self._kept[name] = Upload(name, f"{self._folder}/{name}", size_bytes, self._clock())


def _check(folder: str) -> None:
    try:
        filesystem(folder)
    except DataError as error:
        why = error.problem.removeprefix("can't be opened: ")
        raise InvalidInput("upload_uri", f"{folder!r} can't be used: {why}") from None


def _do(uri: str, work: Callable[..., T], *given: object) -> T:
    with only_os_errors(uri):
        return work(*given)


def _create(uri: str) -> Any:
    fs, path = filesystem(uri)
    make_folder(fs, path.rpartition("/")[0])
    return fs.open(path, "wb")


def _remove(uri: str) -> None:
    fs, path = filesystem(uri)
    try:
        with suppress(FileNotFoundError):
            fs.rm_file(path)
    except Exception as error:  # noqa: BLE001 - each kind of file system raises errors of its own
        log.warning("the upload %s can't be removed: %s", uri, error)


def _listed(folder: str) -> list[tuple[str, int]]:
    """Names and sizes of the uploads in a folder; none if it is not there or can't be listed."""
    fs, path = filesystem(folder)
    try:
        found = fs.ls(path, detail=True)
    except Exception:  # noqa: BLE001 - each kind of file system raises errors of its own
        return []
    names = [(str(one["name"]).rpartition("/")[2], int(one["size"] or 0)) for one in found]
    return [(name, size_bytes) for name, size_bytes in names if is_upload(name)]


async def _punctual(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(SILENCE_LIMIT_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise NotInTime(f"the upload stopped in the middle for {SILENCE_LIMIT_S:g} s") from None
        yield chunk
