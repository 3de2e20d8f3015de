"""The edge of the coordinator without gRPC: jobs come, end, and are forgotten in the end."""

import threading
from pathlib import Path

import numpy as np
import pytest

from gradloom.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Overloaded
from gradloom.jobs import JobState, StateChanged
from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom.v1 import worker_pb2
from gradloom_coordinator.runtime import Coordinator


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
    coordinator.attendance.join(worker_pb2.Hello(name="w"))
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
    monkeypatch.setattr("gradloom_coordinator.lifecycle.build_manifest", lambda *_, **__: may_end.wait(60))
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, planning_timeout_s=0.05))
    view = await coordinator.submit(spec(tmp_path), "")
    assert await ended(coordinator, view.job_id) is JobState.FAILED
    assert coordinator.records.named(view.job_id).reason == "looking at the files took more than 0.05 s"
    may_end.set()
