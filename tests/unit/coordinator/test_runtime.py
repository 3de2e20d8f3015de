"""The edge of the coordinator without gRPC: jobs come, end, and are forgotten in the end."""

from pathlib import Path

import pytest

from gradloom.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Overloaded
from gradloom.jobs import JobState
from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom.v1 import worker_pb2
from gradloom_coordinator.runtime import Coordinator


def spec(folder: Path, algorithm: str = "linear", **settings: str) -> JobSpec:
    return JobSpec(algorithm, DataSpec((str(folder / "nothing.csv"),), target="y"), settings)


async def ended(coordinator: Coordinator, job_id: str) -> JobState:
    async for _ in coordinator.run_named(job_id).journal.follow(0):
        pass
    return coordinator.run_named(job_id).state


async def test_only_so_many_ended_jobs_are_remembered(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, max_ended_jobs=2))
    ids = []
    for i in range(5):
        ids.append(coordinator.submit(spec(tmp_path), f"token {i}").job_id)
        assert await ended(coordinator, ids[-1]) is JobState.FAILED
    assert list(coordinator.runs) == ids[-3:]
    with pytest.raises(NotFound, match=ids[0]):
        coordinator.run_named(ids[0])
    assert coordinator.submit(spec(tmp_path), "token 0").job_id not in ids


async def test_the_same_token_is_the_same_job_and_another_specification_is_refused(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    first = coordinator.submit(spec(tmp_path), "token")
    assert coordinator.submit(spec(tmp_path), "token").job_id == first.job_id
    with pytest.raises(AlreadyExists, match="client_token"):
        coordinator.submit(spec(tmp_path, l2="0.5"), "token")
    await ended(coordinator, first.job_id)


async def test_what_is_wrong_is_refused_before_a_job_exists(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    with pytest.raises(InvalidInput, match="Did you mean 'linear'"):
        coordinator.submit(spec(tmp_path, "linaer"), "")
    with pytest.raises(InvalidInput, match="l2"):
        coordinator.submit(spec(tmp_path, l2="-1"), "")
    assert not coordinator.runs


async def test_more_jobs_than_may_wait_are_refused(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, max_queued_jobs=1))
    running = [coordinator.submit(spec(tmp_path), "") for _ in range(5)]
    with pytest.raises(Overloaded, match="1 jobs wait already"):
        coordinator.submit(spec(tmp_path), "")
    for view in running:
        await ended(coordinator, view.job_id)


async def test_a_job_that_has_failed_can_t_be_cancelled_and_has_no_model(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    view = coordinator.submit(spec(tmp_path), "")
    await ended(coordinator, view.job_id)
    with pytest.raises(Conflict, match="has failed"):
        coordinator.cancel(view.job_id, "")
    with pytest.raises(Conflict, match="has no model"):
        coordinator.model_path(view.job_id)


async def test_workers_of_one_name_are_told_apart_and_a_full_cluster_takes_no_more(tmp_path: Path) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, max_workers=2))
    links = [coordinator.join(worker_pb2.Hello(name="w")) for _ in range(2)]
    assert [link.worker for link in links] == ["w", "w-2"]
    assert [view.worker for view in coordinator.workers()] == ["w", "w-2"]
    with pytest.raises(Overloaded, match="2 workers"):
        coordinator.join(worker_pb2.Hello(name="w"))
    coordinator.leave(links[0], "bye", goodbye=True)
    assert coordinator.join(worker_pb2.Hello(name="w")).worker == "w"
