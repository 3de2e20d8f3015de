"""The trained model has the same bits whatever the workers were and whatever became of them.

The reference is computed by one worker that nobody disturbs; everything else must have its SHA-256.
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.jobs import JobView, Note, RoundCompleted, TaskRetried

pytestmark = pytest.mark.system

LIMIT_S = 60.0


@dataclass(frozen=True)
class Case:
    """A job whose result must not depend on the workers."""

    algorithm: str
    settings: dict[str, object] = field(default_factory=dict)
    placement: str = ""

    def submit(self, client: Client, data: Path) -> Job:
        return client.submit(
            self.algorithm,
            data=str(data),
            target="60",
            shards=16,
            test_fraction=0.1,
            seed=3,
            settings=self.settings,
            placement=self.placement,
        )


LBFGS = Case("logistic", {"solver": "lbfgs", "l2": 0.001})
NEWTON = Case("logistic", {"l2": 0.001, "tolerance": 1e-9})  # float32 rows first, then float64
DESCENT = Case("logistic", {"solver": "gradient_descent", "max_rounds": 120, "tolerance": 0})
BATCHES = Case("logistic", {"solver": "adam", "batch_size": 4096, "max_rounds": 60})
FLOAT64 = Case("linear", {"solver": "lbfgs", "dtype": "float64", "l2": 0.01})
SOFTMAX = Case("multinomial", {"solver": "lbfgs", "l2": 0.01, "max_rounds": 20})
CASES = {
    "lbfgs": LBFGS,
    "newton": NEWTON,
    "descent": DESCENT,
    "batches": BATCHES,
    "float64": FLOAT64,
    "softmax": SOFTMAX,
}


def finished(job: Job) -> JobView:
    view = job.wait(LIMIT_S)
    assert view.state == "completed", view.reason
    assert view.parameters_sha256
    return view


def noted(job: Job) -> Iterator[str]:
    """What is said of the job in words, as it is said."""
    return (event.what.text for event in job.watch() if isinstance(event.what, Note))


def after_round(job: Job, wanted: int) -> Iterator[None]:
    """Yield once when the job has done so many rounds of training."""
    for event in job.watch():
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            yield
            return
    raise AssertionError(f"the job ended before round {wanted}")


@pytest.fixture(scope="module")
def reference(slow_data: Path) -> dict[str, str]:
    """Hashes from one undisturbed worker."""
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        jobs = {name: case.submit(client, slow_data) for name, case in CASES.items()}
        return {name: finished(job).parameters_sha256 for name, job in jobs.items()}


@pytest.mark.parametrize("n_workers", [2, 7])  # halves of the tree of shards, and pieces of it
def test_the_number_of_workers_changes_no_bit(
    n_workers: int, slow_data: Path, reference: dict[str, str]
) -> None:
    with LocalCluster(workers=n_workers) as cluster, cluster.client() as client:
        jobs = {name: case.submit(client, slow_data) for name, case in CASES.items()}
        views = {name: finished(job) for name, job in jobs.items()}
        dealt = finished(Case(LBFGS.algorithm, LBFGS.settings, "round_robin").submit(client, slow_data))
    assert {name: view.parameters_sha256 for name, view in views.items()} == reference
    assert dealt.parameters_sha256 == reference["lbfgs"]
    assert len(views["lbfgs"].workers) == n_workers
    assert all(share.rows > 0 for share in views["lbfgs"].workers)


def test_a_worker_killed_with_a_task_in_its_hands_changes_no_bit(
    slow_data: Path, reference: dict[str, str]
) -> None:
    with LocalCluster(workers=3) as cluster, cluster.client() as client:
        job = DESCENT.submit(client, slow_data)
        next(after_round(job, 3))
        victim = cluster.workers[1]
        # stopped, it can't answer the task that the next round gives it
        os.kill(victim.pid, signal.SIGSTOP)
        until_busy(client, "worker-1")
        os.kill(victim.pid, signal.SIGKILL)
        view = finished(job)
        retries = [event.what for event in job.watch() if isinstance(event.what, TaskRetried)]
    assert view.parameters_sha256 == reference["descent"]
    assert view.retries == len(retries) >= 1
    assert {(retry.worker, retry.reason.value) for retry in retries} == {("worker-1", "stream_reset")}
    assert not next(share for share in view.workers if share.worker == "worker-1").present


def test_a_worker_that_joins_late_helps_and_changes_no_bit(
    slow_data: Path, reference: dict[str, str]
) -> None:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        job = DESCENT.submit(client, slow_data)
        next(after_round(job, 3))
        # the job stands still until the other has come
        os.kill(cluster.workers[0].pid, signal.SIGSTOP)
        cluster.add_worker()
        assert any("worker worker-1 joined" in text for text in noted(job))
        os.kill(cluster.workers[0].pid, signal.SIGCONT)
        view = finished(job)
    assert view.parameters_sha256 == reference["descent"]
    assert next(share for share in view.workers if share.worker == "worker-1").rows > 0


def test_losing_every_worker_only_makes_the_job_wait(slow_data: Path, reference: dict[str, str]) -> None:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        job = DESCENT.submit(client, slow_data)
        next(after_round(job, 3))
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        assert any("there is no worker" in text for text in noted(job))
        assert job.view().state == "running"
        cluster.add_worker()
        view = finished(job)
    assert view.parameters_sha256 == reference["descent"]


def test_a_worker_that_falls_silent_is_not_waited_for_and_changes_no_bit(
    slow_data: Path, reference: dict[str, str]
) -> None:
    with LocalCluster(workers=2) as cluster, cluster.client() as client:
        job = DESCENT.submit(client, slow_data)
        next(after_round(job, 3))
        os.kill(cluster.workers[1].pid, signal.SIGSTOP)
        view = finished(job)
        reasons = {event.what.reason.value for event in job.watch() if isinstance(event.what, TaskRetried)}
        os.kill(cluster.workers[1].pid, signal.SIGCONT)
    assert view.parameters_sha256 == reference["descent"]
    # its tasks may have been copied before it was given up: then none is left to be tried again
    assert reasons <= {"heartbeat_timeout"}


def test_big_partials_that_wait_for_room_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40,000 columns: partials of 320 kB that come in frames, here one after the other."""
    path = tmp_path / "wide.npy"
    X = np.random.default_rng(1).standard_normal((60, 40_000)).astype(np.float32)
    np.save(path, np.column_stack([X, X[:, 0] > 0]))
    settings = {"solver": "adam", "max_rounds": 12, "tolerance": 0.0}
    hashes = set()
    for limit_gib, n_workers in (("2", 1), ("0", 3)):
        monkeypatch.setenv("GRADLOOM_PARTIALS_LIMIT", limit_gib)
        with LocalCluster(workers=n_workers) as cluster, cluster.client() as client:
            job = client.submit("logistic", data=str(path), target="40000", shards=9, settings=settings)
            next(after_round(job, 3))
            if n_workers > 1:
                os.kill(cluster.workers[1].pid, signal.SIGKILL)
            hashes.add(finished(job).parameters_sha256)
    assert len(hashes) == 1


def until_busy(client: Client, worker: str) -> None:
    """Wait until the coordinator has given the worker a task; each look is an RPC, so this does not spin."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if any(view.worker == worker and view.tasks_in_flight for view in client.workers()):
            return
    raise AssertionError(f"{worker} was never busy")
