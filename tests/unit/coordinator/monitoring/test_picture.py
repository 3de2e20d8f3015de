"""What is new to those who watch, however long they have not looked."""

import random
from dataclasses import replace

import pytest

from builders.rooms import a_job, a_share, a_worker
from gradloom.jobs import JobState, WorkerPhases, WorkerState
from gradloom.watching import Assembly
from gradloom_coordinator.monitoring import picture as pictures
from gradloom_coordinator.monitoring.picture import Picture, parts


def taken(picture: Picture, workers=(), jobs=(), at: float = 1.0, *, refresh: bool = False) -> bool:
    return picture.take(workers, jobs, at, refresh=refresh)


def test_the_first_look_is_everything_and_the_next_only_what_changed() -> None:
    picture, (one, other) = Picture("1.0"), (a_worker("worker-0"), a_worker("worker-1"))
    assert taken(picture, [one, other], [a_job()])
    first = picture.since(0)
    assert (first.anew, first.sequence, first.version) == (True, 1, "1.0")
    assert (first.workers, first.jobs) == ((one, other), (a_job(),))
    idle = replace(other, state=WorkerState.IDLE)
    assert taken(picture, [one, idle], [a_job()], 2.0)
    second = picture.since(1)
    assert (second.anew, second.sequence, second.at) == (False, 2, 2.0)
    assert (second.workers, second.jobs) == ((idle,), ())
    assert picture.since(1) is second, "made once for all who have seen the same"
    assert picture.since(0).anew


def test_time_that_only_passes_is_told_when_it_is_refreshed() -> None:
    picture, worker, job = Picture(""), a_worker("worker-0"), a_job(workers=(a_share("worker-0"),))
    taken(picture, [worker], [job])
    older = replace(worker, heartbeat_age_s=0.9, connected_s=11.0, phases=WorkerPhases(idle=1.0))
    later = replace(job, seconds=2.0, workers=(a_share("worker-0", busy=0.4),))
    assert not taken(picture, [older], [later])
    assert picture.sequence == 1
    assert taken(picture, [older], [later], refresh=True)
    assert (picture.since(1).workers, picture.since(1).jobs) == ((older,), (later,))


def test_what_is_gone_is_named_and_who_comes_back_is_new() -> None:
    picture, worker, job = Picture(""), a_worker("worker-0"), a_job()
    taken(picture, [worker], [job])
    assert taken(picture)
    assert (picture.since(1).workers_gone, picture.since(1).jobs_gone) == (("worker-0",), (job.job_id,))
    assert picture.since(0).workers_gone == (), "nobody who begins has to forget anything"
    taken(picture, [worker])
    assert (picture.since(1).workers, picture.since(1).workers_gone) == ((worker,), ())


def test_who_was_away_too_long_is_told_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_GONE", 2)
    picture = Picture("")
    for i in range(5):
        taken(picture, [a_worker("stays"), a_worker(f"worker-{i}")])
    change = picture.since(1)
    assert (change.anew, change.workers_gone) == (True, ())
    assert {worker.worker for worker in change.workers} == {"stays", "worker-4"}
    assert not picture.since(4).anew


def test_big_pictures_are_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PART_SIZE", 3)
    picture, workers = Picture(""), [a_worker(f"worker-{i}") for i in range(7)]
    jobs = [a_job(f"job-{i}", workers=(a_share("worker-0"), a_share("worker-1"))) for i in range(3)]
    taken(picture, workers, jobs)
    told = list(parts(picture.since(0)))
    assert [(part.anew, part.more) for part in told] == [(True, True), *[(False, True)] * 3, (False, False)]
    assembly = Assembly()
    *unfinished, whole = [assembly.take(part) for part in told]
    assert unfinished == [None] * 4
    assert whole is not None
    assert (whole.workers, whole.jobs) == (tuple(workers), tuple(reversed(jobs)))
    monkeypatch.undo()
    change = picture.since(0)
    assert next(parts(change)) is change


@pytest.mark.parametrize("seed", range(20))
def test_watchers_of_whatever_pace_see_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_GONE", 3)
    monkeypatch.setattr(pictures, "PART_SIZE", 4)
    rng, picture = random.Random(seed), Picture("")
    watchers = [(Assembly(), 0) for _ in range(3)]
    views = {}
    for at in range(60):
        workers = [a_worker(f"worker-{i}", rows=rng.randrange(3)) for i in range(6) if rng.random() < 0.7]
        states = (JobState.RUNNING, JobState.PAUSED)
        jobs = [a_job(f"job-{i}", rng.choice(states)) for i in range(4) if rng.random() < 0.8]
        taken(picture, workers, jobs, float(at), refresh=rng.random() < 0.3)
        for i, (assembly, seen) in enumerate(watchers):
            if i == 0 or rng.random() < 0.2 / i:
                change = picture.since(seen)
                for part in parts(change):
                    views[i] = assembly.take(part)
                watchers[i] = assembly, change.sequence
                shown = views[i]
                assert shown is not None
                assert {w.worker: w for w in shown.workers} == {w.worker: w for w in workers}
                assert {j.job_id: j for j in shown.jobs} == {j.job_id: j for j in jobs}
