"""Tokens as they come and go while a coordinator serves: what counts, from when on, and until when."""

import grpc
import pytest

from gradloom.errors import InvalidInput
from gradloom.roles import Role
from gradloom.tokens import TokenBook
from gradloom.v1 import job_service_pb2 as jobs
from gradloom_coordinator.access.watched_tokens import WatchedTokens

from .conftest import UNKNOWN, Guarded, all_of, until, watching


async def test_a_revoked_token_counts_no_more_and_its_streams_end(guarded: Guarded, serving) -> None:
    async with serving(), guarded.calling(Role.VIEWER) as gone, guarded.calling(Role.OPERATOR) as stays:
        streams = [watching(calls) for calls in (gone, stays)]
        for stream in streams:
            await stream.read()
        guarded.revoke("the-viewer")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await all_of(streams[0])
        assert (ended.value.code(), ended.value.details()) == (
            UNKNOWN,
            "the token of 'the-viewer' has been revoked",
        )
        assert (await gone.refusal(gone.jobs.ListJobs, jobs.ListJobsRequest())).code() is UNKNOWN
        await streams[1].read()
        await stays.jobs.ListJobs(jobs.ListJobsRequest(), metadata=stays.metadata)


async def test_a_stream_ends_with_its_token_although_the_file_can_not_be_looked_at(
    guarded: Guarded, serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: WatchedTokens) -> bool:
        raise RuntimeError("whatever it is")

    async with serving() as running, guarded.calling(Role.VIEWER) as calls:
        stream = watching(calls)
        await stream.read()
        monkeypatch.setattr(WatchedTokens, "look", broken)
        running.guard._tokens.book = TokenBook()
        with pytest.raises(grpc.aio.AioRpcError, match="has been revoked"):
            await all_of(stream)


async def test_a_workers_session_ends_with_its_token(guarded: Guarded, serving) -> None:
    async with serving() as running, guarded.calling(Role.WORKER) as worker:
        call = worker.channel.stream_stream("/gradloom.v1.WorkerService/Session")(metadata=worker.metadata)
        await call.write(b"")  # an empty message: it has come in, and says no Hello
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        silent = worker.channel.stream_stream("/gradloom.v1.WorkerService/Session")(metadata=worker.metadata)
        await silent.wait_for_connection()
        await until(lambda: running.guard._worker_streams.count == 1)
        guarded.revoke("the-worker")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await silent.read()
        assert ended.value.code() is UNKNOWN


async def test_an_expired_token_counts_no_more(guarded: Guarded, serving) -> None:
    text = guarded.token(Role.OPERATOR, "eve", days=1)  # of long ago
    async with serving(), guarded.calling(text) as calls:
        refused = await calls.refusal(calls.jobs.ListJobs, jobs.ListJobsRequest())
        assert (refused.code(), refused.details().split(";")[0]) == (UNKNOWN, "the token has expired")


async def test_a_new_token_counts_without_a_restart(guarded: Guarded, serving) -> None:
    async with serving() as running:
        text = guarded.token(Role.VIEWER, "bob")
        await until(lambda: running.guard._tokens.book.find(text) is not None)
        async with guarded.calling(text) as calls:
            await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)


async def test_a_file_that_breaks_changes_nothing_but_the_log(
    guarded: Guarded, serving, caplog: pytest.LogCaptureFixture
) -> None:
    good, text = guarded.tokens_file.read_text(), guarded.texts[Role.VIEWER]
    async with serving() as running, guarded.calling(Role.VIEWER) as calls:
        guarded.tokens_file.write_text("{")
        await until(lambda: "the tokens that were read last count on" in caplog.text)
        await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)
        guarded.tokens_file.unlink()
        await until(lambda: "No such file" in caplog.text)
        await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)
        guarded.tokens_file.write_text(good.replace("the-viewer", "bob"))
        await until(lambda: running.guard._tokens.book.find(text).name == "bob")


@pytest.mark.parametrize("text", ["{", ""])
async def test_a_file_that_is_broken_to_begin_with_is_refused(guarded: Guarded, serving, text: str) -> None:
    guarded.tokens_file.write_text(text)
    with pytest.raises(InvalidInput, match=r"tokens_file: .*it is not JSON"):
        async with serving():
            pass
