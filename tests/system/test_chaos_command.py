"""``gradloom chaos`` against a real cluster: each kind of fault leaves its mark in the report, none on the model."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.dawdling import ENDLESS, References, dawdle
from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import Conflict, InvalidInput, NotFound
from gradloom.faults import Fault, FaultKind
from gradloom.jobs import RoundCompleted

pytestmark = pytest.mark.system

LIMIT_S = 60.0
WIDE = 40_000
"""Columns whose sums are too big to ride in a message."""


@dataclass(frozen=True)
class Under:
    """A cluster whose workers take faults, and who tries them."""

    cluster: LocalCluster
    client: Client
    shell: Shell

    def chaos(self, worker: str, *words: object) -> Any:
        """What the command says in JSON of the one job that runs."""
        said = self.shell.json(
            "chaos", worker, *words, "--cluster", self.cluster.address, "--observe", "0.3s"
        )
        (job,) = said["jobs"]
        return job


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 rows of 60 columns, and a binary target in column "60"."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((20_000, 60))
    y = X @ rng.standard_normal(60) + rng.standard_normal(len(X)) > 0
    path = tmp_path_factory.mktemp("chaos") / "rows.npy"
    np.save(path, np.column_stack([X, y]))
    return path


@pytest.fixture(scope="module")
def under(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Under]:
    with LocalCluster(workers=3, allow_chaos=True) as cluster, cluster.client() as client:
        yield Under(cluster, client, Shell(tmp_path_factory.mktemp("shell")))


def submit(client: Client, data: Path, rounds: int = ENDLESS) -> Job:
    settings = {"solver": "gradient_descent", "max_rounds": rounds, "tolerance": 0.0}
    return client.submit("logistic", data=str(data), target="60", shards=16, settings=settings)


def in_round(job: Job, wanted: int) -> Job:
    """The job, once it has done so many rounds."""
    for event in job.watch():
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return job
    raise AssertionError(f"the job ended before round {wanted}")


@pytest.fixture(scope="module")
def references(under: Under, rows: Path) -> References:
    return References(lambda rounds: submit(under.client, rows, rounds))


@pytest.fixture
def job(under: Under, rows: Path) -> Job:
    """A job that has done some rounds, and goes on for as long as it takes."""
    job = in_round(submit(under.client, rows), 3)
    dawdle(under.client, 20.0)
    return in_round(job, 20)


def test_a_slow_worker_slows_the_rounds_and_no_bit_changes(
    under: Under, job: Job, references: References
) -> None:
    said = under.chaos("worker-1", "slow", "--factor", 100, "--for", "1s")
    assert said["before"]["rounds"] > 0
    assert said["during"]["rounds"] > 0
    assert said["retries"] == {}
    assert said["went_on"]
    references.check(under.client, job)


def test_a_worker_that_stands_still_for_a_moment_is_not_declared_dead(
    under: Under, job: Job, references: References
) -> None:
    said = under.chaos("worker-1", "pause", "--for", "1s")
    assert not any("gone" in note for note in said["notes"])
    assert "heartbeat_timeout" not in said["retries"]
    assert said["during"]["p99_s"] > said["before"]["p50_s"]
    references.check(under.client, job)
    assert "worker-1" in [view.worker for view in under.client.workers()]


def test_damaged_results_are_computed_again(under: Under, job: Job, references: References) -> None:
    said = under.chaos("worker-1", "corrupt", "--count", 2)
    assert said["retries"] == {"checksum": 2}
    assert said["detection_s"] < LIMIT_S
    references.check(under.client, job)


def test_a_damaged_result_that_is_too_big_for_a_message_is_computed_again(
    under: Under, tmp_path: Path
) -> None:
    data = big_data(tmp_path)

    def start(rounds: int) -> Job:
        settings = {"solver": "gradient_descent", "max_rounds": rounds, "tolerance": 0.0}
        return under.client.submit("linear", data=str(data), target="y", shards=6, settings=settings)

    disturbed = in_round(start(ENDLESS), 3)
    dawdle(under.client)
    assert under.chaos("worker-2", "corrupt")["retries"].keys() == {"checksum"}
    References(start).check(under.client, disturbed)


def big_data(folder: Path) -> Path:
    """Rows so wide that a partial goes over the bulk stream."""
    path = folder / "wide.npz"
    rng = np.random.default_rng(5)
    np.savez(path, X=rng.standard_normal((60, WIDE), dtype=np.float32), y=rng.standard_normal(60))
    return path


def test_a_worker_that_is_cut_off_for_long_is_given_up_and_comes_back(
    under: Under, job: Job, references: References
) -> None:
    said = under.chaos("worker-1", "partition", "--for", "6s")
    assert said["retries"].keys() <= {"heartbeat_timeout"}
    assert 4.0 < said["detection_s"] < 10.0
    assert any("is gone: no sign of life" in note for note in said["notes"])
    references.check(under.client, job)


def test_a_killed_worker_costs_its_own_tasks_and_the_report_is_kept(
    under: Under, job: Job, references: References, tmp_path: Path
) -> None:
    victim = under.cluster.workers[2]
    report = tmp_path / "report.md"
    said = under.chaos("worker-2", "kill", "--out", report)
    assert victim.wait(LIMIT_S) == -9
    assert set(said["retries"]) <= {"stream_reset", "worker_lost"}
    assert said["went_on"]
    references.check(under.client, job)
    text = report.read_text()
    assert text.startswith("# worker-2: kill\n")
    assert f"## {job.id}" in text
    assert "| before |" in text
    under.cluster.add_worker()


def test_without_a_job_the_fault_happens_and_the_report_says_that_nobody_saw_it(under: Under) -> None:
    words = ("chaos", "worker-0", "corrupt", "--cluster", under.cluster.address)
    assert "No job was running" in under.shell.text(*words)
    under.client.inject("worker-0", Fault(FaultKind.SLOW, 0.001, 2.0))


def test_a_worker_that_nobody_knows_is_refused(under: Under) -> None:
    with pytest.raises(NotFound, match=r"worker: 'nobody' is not known; connected now: worker-0, "):
        under.client.inject("nobody", Fault(FaultKind.KILL))
    done = under.shell.run("chaos", "nobody", "kill", "--cluster", under.cluster.address)
    assert (done.status, done.out) == (4, "")


def test_bad_words_are_refused_before_anything_is_done(under: Under) -> None:
    done = under.shell.run("chaos", "worker-0", "slow", "--factor", "0.5", "--cluster", under.cluster.address)
    assert done.status == 2
    assert done.err == "error: factor: 0.5 is not allowed; it must lie in (1, 1000]\n"
    with pytest.raises(InvalidInput, match="for: 0 is not allowed"):
        under.client.inject("worker-0", Fault(FaultKind.PAUSE))


def test_a_worker_that_was_not_started_for_it_takes_no_fault(shell: Shell) -> None:
    assert "GRADLOOM_ALLOW_CHAOS" not in os.environ
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        with pytest.raises(Conflict, match="worker-0 takes no faults; start it with --allow-chaos"):
            client.inject("worker-0", Fault(FaultKind.KILL))
        done = shell.run("chaos", "worker-0", "kill", "--cluster", cluster.address, "--json")
        assert done.status == 1
        assert json.loads(done.out)["error"]["kind"] == "Conflict"
        assert cluster.workers[0].poll() is None
