"""Uploads: kept while they are needed, removed when they are not, and never larger than allowed."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradloom.errors import InvalidInput, NotInTime, Overloaded, Unavailable
from gradloom.settings import CoordinatorSettings
from gradloom_coordinator import uploads as uploads_module
from gradloom_coordinator.uploads import Uploads


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def uploads_in(folder: Path, clock: Clock, limit_bytes: int = 1000) -> Uploads:
    settings = CoordinatorSettings(data_dir=folder, upload_limit_bytes=limit_bytes, upload_keep_s=60.0)
    return Uploads(settings, clock)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "uploads").iterdir())


def content(uri: str) -> bytes:
    return Path(uri).read_bytes()


async def test_the_file_holds_the_chunks_in_their_order(tmp_path: Path) -> None:
    kept = await uploads_in(tmp_path, Clock()).take(chunks(b"ab", b"", b"cd"))
    assert content(kept.uri) == b"abcd"
    assert files(tmp_path) == [kept.upload_id]


async def test_a_client_that_falls_silent_in_the_middle_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "SILENCE_LIMIT_S", 0.01)

    async def silent() -> AsyncIterator[bytes]:
        yield b"ab"
        await asyncio.Event().wait()

    with pytest.raises(NotInTime, match="the upload stopped in the middle"):
        await uploads_in(tmp_path, Clock()).take(silent())
    assert files(tmp_path) == []


async def test_an_upload_goes_at_once_when_it_is_not_needed_any_more(tmp_path: Path) -> None:
    uploads = uploads_in(tmp_path, Clock())
    kept = await uploads.take(chunks(b"data"))
    for _ in range(2):
        await uploads.remove(kept.upload_id, in_use=())
    assert files(tmp_path) == []


async def test_an_upload_that_a_job_uses_goes_when_the_job_has_ended(tmp_path: Path) -> None:
    uploads = uploads_in(tmp_path, Clock())
    kept = await uploads.take(chunks(b"data"))
    await uploads.remove(kept.upload_id, in_use={kept.uri})
    assert files(tmp_path) == [kept.upload_id]
    await uploads.sweep(in_use=())
    assert files(tmp_path) == []


async def test_an_upload_that_was_not_used_for_a_while_goes_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    uploads = uploads_in(tmp_path, clock)
    kept = await uploads.take(chunks(b"data"))
    for now, in_use, there in ((150.0, {kept.uri}, True), (209.0, (), True), (210.0, (), False)):
        clock.now = now
        await uploads.sweep(in_use)
        assert bool(files(tmp_path)) is there


async def test_what_another_coordinator_has_left_goes_too(tmp_path: Path) -> None:
    clock = Clock()
    kept = await uploads_in(tmp_path, clock).take(chunks(b"data"))
    (tmp_path / "uploads" / "somebody_elses.npz").write_bytes(b"not ours")
    later = uploads_in(tmp_path, clock)
    await later.sweep(())
    assert kept.upload_id in files(tmp_path)
    clock.now += 61.0
    await later.sweep(())
    assert files(tmp_path) == ["somebody_elses.npz"]


async def test_an_upload_that_is_too_large_leaves_nothing(tmp_path: Path) -> None:
    uploads = uploads_in(tmp_path, Clock(), limit_bytes=5)
    with pytest.raises(InvalidInput, match=r"larger than 5 bytes.*--upload-limit"):
        await uploads.take(chunks(b"123", b"456"))
    assert files(tmp_path) == []
    await uploads.take(chunks(b"123"))
    with pytest.raises(Overloaded, match="uploads that are kept take 6 bytes"):
        await uploads.take(chunks(b"456"))
    assert len(files(tmp_path)) == 1


async def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"123"
        raise ConnectionResetError

    with pytest.raises((ConnectionResetError, Unavailable)):
        await uploads_in(tmp_path, Clock()).take(broken())
    assert files(tmp_path) == []


async def test_a_folder_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_bytes(b"a file, where a folder should be")
    with pytest.raises(Unavailable, match="the upload can't be written to"):
        await uploads_in(tmp_path, Clock()).take(chunks(b"123"))


async def test_a_folder_that_does_not_answer_is_told_in_time_and_holds_nobody_elses_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = threading.Event()
    monkeypatch.setattr(uploads_module, "FILE_LIMIT_S", 0.05)
    monkeypatch.setattr(uploads_module, "_create", lambda _: mended.wait())
    monkeypatch.setattr(uploads_module, "_remove", lambda _: mended.wait())
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    uploads = uploads_in(tmp_path, Clock())
    try:
        async with asyncio.timeout(20):
            with pytest.raises(NotInTime, match=r"uploads did not answer within 0\.05 s"):
                await uploads.take(chunks(b"123"))
            await asyncio.to_thread(lambda: None)
    finally:
        mended.set()


@pytest.mark.parametrize("name", ["", "../coordinator.lock", "gradloom-upload-1-x.npz"])
async def test_only_uploads_can_be_removed(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is no id of an upload"):
        await uploads_in(tmp_path, Clock()).remove(name, ())
