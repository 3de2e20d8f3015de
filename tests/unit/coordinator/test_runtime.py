"""The edge of the coordinator without gRPC: jobs come, end, and are forgotten in the end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders.stored import stored_job
from gradloom.algorithms import versions
from gradloom.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Overloaded, Unavailable
from gradloom.jobs import JobState, Note, StateChanged
from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom.v1 import worker_pb2
from gradloom_coordinator.durability.changes import Change, EventAdded
from gradloom_coordinator.runs import Hold
from gradloom_coordinator.runtime import STALL_S, TICK_S, Coordinator
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.scheduler import Scheduler


def spec(folder: Path, algorithm: str = "linear", **settings: str) -> JobSpec:
    return JobSpec(algorithm, DataSpec((str(folder / "nothing.csv"),), target="y"), settings)


async def ended(coordinator: Coordinator, job_id: str) -> JobState:
    async for _ in coordinator.records.named(job_id).journal.follow(0):
        pass
    return coordinator.records.named(job_id).state


async def test_only_so_many_ended_jobs_are_remembered(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, max_ended_jobs=2))
    ids = []
    for i in range(5):
        ids.append((await coordinator.submit(spec(tmp_path), f"token {i}")).job_id)
        assert await ended(coordinator, ids[-1]) is JobState.FAILED
    assert list(coordinator.runs) == ids[-3:]
    with pytest.raises(NotFound, match=ids[0]):
        coordinator.records.named(ids[0])
    assert (await coordinator.submit(spec(tmp_path), "token 0")).job_id not in ids


async def test_the_same_token_is_the_same_job_and_another_specification_is_refused(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    first = await coordinator.submit(spec(tmp_path), "token")
    assert (await coordinator.submit(spec(tmp_path), "token")).job_id == first.job_id
    with pytest.raises(AlreadyExists, match="client_token"):
        await coordinator.submit(spec(tmp_path, l2="0.5"), "token")
    await ended(coordinator, first.job_id)


async def test_what_is_wrong_is_refused_before_a_job_exists(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    with pytest.raises(InvalidInput, match="Did you mean 'linear'"):
        await coordinator.submit(spec(tmp_path, "linaer"), "")
    with pytest.raises(InvalidInput, match="l2"):
        await coordinator.submit(spec(tmp_path, l2="-1"), "")
    assert not coordinator.runs


async def test_more_jobs_than_may_wait_are_refused(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, max_queued_jobs=1))
    running = [await coordinator.submit(spec(tmp_path), "") for _ in range(3)]
    with pytest.raises(Overloaded, match="1 jobs wait already"):
        await coordinator.submit(spec(tmp_path), "")
    for view in running:
        await ended(coordinator, view.job_id)


async def test_a_job_that_has_failed_can_t_be_cancelled_and_has_no_model(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    view = await coordinator.submit(spec(tmp_path), "")
    await ended(coordinator, view.job_id)
    with pytest.raises(Conflict, match="has failed"):
        await coordinator.cancel(view.job_id, "")
    with pytest.raises(Conflict, match="has no model"):
        coordinator.records.model_path(view.job_id)


async def test_a_command_that_can_t_be_carried_out_costs_its_job_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "rows.npy", np.arange(20.0).reshape(10, 2))
    data = DataSpec((str(tmp_path / "rows.npy"),), target="1")
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    coordinator.attendance.join(worker_pb2.Hello(name="w", algorithms=versions()))
    with monkeypatch.context() as broken:
        broken.setattr("gradloom_coordinator.attendance.send_tasks", out_of_memory)
        failed = await coordinator.submit(JobSpec("linear", data), "")
        assert await ended(coordinator, failed.job_id) is JobState.FAILED
    assert coordinator.records.named(failed.job_id).reason == "MemoryError: no room for this"
    going = await coordinator.submit(JobSpec("linear", data), "")
    async for event in coordinator.records.named(going.job_id).journal.follow(0):
        if isinstance(event.what, StateChanged) and event.what.state is JobState.RUNNING:
            break
    assert coordinator.workers()[0].tasks_in_flight == 1
    await coordinator.cancel(going.job_id, "seen enough")


def out_of_memory(*_: object) -> None:
    raise MemoryError("no room for this")


async def test_planning_that_takes_too_long_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    monkeypatch.setattr("gradloom_coordinator.planning.build_manifest", lambda *_, **__: may_end.wait(60))
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, planning_timeout_s=0.05))
    view = await coordinator.submit(spec(tmp_path), "")
    assert await ended(coordinator, view.job_id) is JobState.FAILED
    assert coordinator.records.named(view.job_id).reason == "looking at the files took more than 0.05 s"
    may_end.set()


class Clock:
    """Goes on only when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_an_alarm_that_rings_after_a_standstill_blames_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, heard = Clock(), asyncio.Queue[e.Event]()
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path), clock)
    coordinator.attendance.join(worker_pb2.Hello(name="w", algorithms=versions()))
    handle = Scheduler.handle

    def listening(scheduler: Scheduler, event: e.Event, now: float) -> list[c.Command]:
        heard.put_nowait(event)
        return handle(scheduler, event, now)

    monkeypatch.setattr(Scheduler, "handle", listening)
    async with asyncio.timeout(20):
        keeping_time = asyncio.create_task(coordinator.keep_time())
        assert await heard.get() == e.Tick()
        clock.now += 60.0
        coordinator._alarm.set(clock.now)
        assert await heard.get() == e.Stalled(60.0 - TICK_S)
        assert await heard.get() == e.Tick()
        assert await heard.get() == e.Tick(), "what was said once is not said again"
    keeping_time.cancel()
    assert [worker.worker for worker in coordinator.workers()] == ["w"]


async def test_time_that_the_coordinator_took_itself_counts_as_a_standstill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, stalls = Clock(), asyncio.Queue[e.Stalled]()
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path), clock)

    def slow(*_: object) -> None:
        clock.now += 2 * (TICK_S + STALL_S)

    monkeypatch.setattr(coordinator.metrics, "tidy", slow)
    monkeypatch.setattr(
        coordinator, "dispatch", lambda event: isinstance(event, e.Stalled) and stalls.put_nowait(event)
    )
    async with asyncio.timeout(20):
        keeping_time = asyncio.create_task(coordinator.keep_time())
        assert (await stalls.get()).seconds == pytest.approx(TICK_S + 2 * STALL_S)
    keeping_time.cancel()


class AwayDatabase:
    """Takes changes, and makes them durable while it is there."""

    trouble = ""

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.waited = asyncio.Event()
        self.changes: list[Change] = []

    def put(self, *changes: Change, soon: bool = False) -> None:
        self.changes += changes

    async def flush(self, limit_s: float) -> None:
        self.waited.set()
        if not self.there.is_set():
            await asyncio.sleep(0)
            raise Unavailable("the database is away")


@pytest.fixture
async def kept(tmp_path: Path) -> tuple[Coordinator, AwayDatabase, str]:
    """A coordinator whose database is away, with a job that waits for workers."""
    np.save(tmp_path / "rows.npy", np.arange(20.0).reshape(10, 2))
    coordinator, database = Coordinator(CoordinatorSettings(data_dir=tmp_path)), AwayDatabase()
    coordinator.jobs.keep_with(database, 1)
    with pytest.raises(Unavailable):
        await coordinator.submit(JobSpec("linear", DataSpec((str(tmp_path / "rows.npy"),), "1")), "")
    (job_id,) = coordinator.runs
    await until_state(coordinator, job_id, JobState.RUNNING)
    return coordinator, database, job_id


async def until_state(coordinator: Coordinator, job_id: str, state: JobState) -> None:
    async with asyncio.timeout(20):
        async for event in coordinator.records.named(job_id).journal.follow(0):
            if isinstance(event.what, StateChanged) and event.what.state is state:
                return


async def test_a_job_is_shown_as_ended_only_when_a_restart_can_t_take_it_back(
    kept: tuple[Coordinator, AwayDatabase, str],
) -> None:
    coordinator, database, job_id = kept
    run = coordinator.records.named(job_id)
    with pytest.raises(Unavailable):
        await coordinator.cancel(job_id, "enough")
    async with asyncio.timeout(20):
        async for event in run.journal.follow(0):
            if isinstance(event.what, Note) and "durable" in event.what.text:
                break
    waiting = "it is cancelled, which is not durable yet (enough)"
    assert event.what == Note(f"{waiting}: the database is away")
    assert (coordinator.view(run).state, coordinator.view(run).reason) == (JobState.RUNNING, waiting)
    with pytest.raises(Conflict, match="has no model yet: it is cancelled, which is not durable yet"):
        coordinator.records.model_path(job_id)
    assert not run.journal.closed
    database.there.set()
    assert await ended(coordinator, job_id) is JobState.CANCELLED
    assert (coordinator.view(run).state, coordinator.view(run).reason) == (JobState.CANCELLED, "enough")
    told = [change.event.what for change in database.changes if isinstance(change, EventAdded)]
    assert told.count(StateChanged(JobState.CANCELLED, "enough")) == 1
    assert told.count(event.what) == 1


async def test_data_is_kept_as_long_as_a_restart_may_begin_its_job_again(
    kept: tuple[Coordinator, AwayDatabase, str],
) -> None:
    coordinator, database, _ = kept
    upload = await coordinator.take_upload(one_chunk(b"data"))
    run = coordinator.jobs.add(JobSpec("statistics", DataSpec((upload.uri,))), "")
    with pytest.raises(Unavailable):
        await coordinator.cancel(run.job_id, "enough")
    await coordinator.remove_upload(upload.upload_id)
    assert is_there(upload.uri)
    database.there.set()
    assert await ended(coordinator, run.job_id) is JobState.CANCELLED
    await coordinator.remove_upload(upload.upload_id)
    assert not is_there(upload.uri)


def is_there(uri: str) -> bool:
    return Path(uri).exists()


async def one_chunk(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


async def test_who_cancels_sees_the_job_cancelled(kept: tuple[Coordinator, AwayDatabase, str]) -> None:
    coordinator, database, job_id = kept
    database.there.set()
    assert (await coordinator.cancel(job_id, "enough")).state is JobState.CANCELLED


async def test_an_end_that_was_durable_and_not_told_is_told_after_a_restart(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    view = await coordinator.submit(spec(tmp_path), "")
    await ended(coordinator, view.job_id)
    run = coordinator.records.named(view.job_id)
    assert run.final_view is not None
    events = tuple([event async for event in run.journal.follow(0)][:-1])
    stored = replace(
        stored_job(run.job_id, run.spec),
        state=run.state,
        reason=run.reason,
        created_at=run.created_at,
        view=run.final_view,
        events=events,
    )
    again = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    again.jobs.go_on([stored])
    async with asyncio.timeout(20):
        told = [event async for event in again.records.named(run.job_id).journal.follow(events[-1].sequence)]
    assert [event.what for event in told] == [StateChanged(run.state, run.reason)]


async def test_the_reason_of_a_pause_is_the_one_that_holds_now(
    kept: tuple[Coordinator, AwayDatabase, str],
) -> None:
    coordinator, _, job_id = kept
    run = coordinator.records.named(job_id)
    run.state = JobState.PAUSED
    for hold, trouble in ((Hold.DATABASE, "refused"), (Hold.DATABASE, "full"), (Hold.CHECKPOINTS, "torn")):
        coordinator.jobs.hold(hold, run, trouble)
    assert run.reason == "full"
    coordinator.jobs.hold(Hold.DATABASE, run, "")
    assert run.reason == "torn"
    said = [event.what.text for event in run.journal._after(0) if isinstance(event.what, Note)]
    assert said[-2:] == ["paused, now because full", "paused, now because torn"]
