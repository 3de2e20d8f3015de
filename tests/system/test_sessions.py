"""Sessions of real workers: connections that are cut or swallowed are resumed, and SIGTERM loses nothing.

The worker of these tests computes with the real algorithm, but holds each task for as long as a file is there.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders.proxy import Proxy, proxy_to
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.jobs import JobState, JobView, RoundCompleted, WorkerState, WorkerView

pytestmark = pytest.mark.system

LIMIT_S = 60.0
NOTICE_LIMIT_S = 12.0
"""Of a connection that swallows everything: 5 s by the settings, and the machine that tests may be busy."""
ROUNDS = 40

HELD_WORKER = """
import sys
import time
from pathlib import Path
from gradloom_worker import __main__, messages

folder, build = Path(sys.argv.pop(1)), messages.build

class Held:
    def __init__(self, algorithm):
        self._algorithm = algorithm

    def __getattr__(self, name):
        return getattr(self._algorithm, name)

    def map(self, shard, message):
        until = time.monotonic() + 60
        while (folder / "hold").exists() and time.monotonic() < until:
            (folder / "computing").touch()
            time.sleep(0.005)
        time.sleep(0.005)  # a job lasts long enough to be disturbed
        return self._algorithm.map(shard, message)

messages.build = lambda name, settings: Held(build(name, settings))
__main__.main()
"""


def wait_for(path: Path) -> None:
    until = time.monotonic() + LIMIT_S
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.005)


@dataclass
class Worker:
    """A worker that a test holds, asks and kills."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    def hold(self) -> None:
        """Let no task end until ``let_go``."""
        (self.folder / "hold").touch()

    def wait_until_it_computes(self) -> None:
        wait_for(self.folder / "computing")

    def let_go(self) -> None:
        (self.folder / "hold").unlink()
        (self.folder / "computing").unlink(missing_ok=True)

    def welcomed(self) -> str:
        """The name of its next welcome."""
        assert self.process.stdout is not None
        name: str = json.loads(self.process.stdout.readline())["worker"]
        return name

    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def worker_at(address: str, folder: Path) -> Iterator[Worker]:
    folder.mkdir()
    options = ("--name", "held", "--metrics-port", "0", "--announce")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", HELD_WORKER, str(folder), "--coordinator", address, *options],
            stdout=subprocess.PIPE,
            stderr=log,
            env={k: v for k, v in os.environ.items() if not k.startswith("GRADLOOM_")},
        )
    worker = Worker(process, folder)
    try:
        assert worker.welcomed() == "held"
        yield worker
    finally:
        (folder / "hold").unlink(missing_ok=True)
        process.terminate()  # it says Goodbye, so that its name is free
        try:
            process.wait(LIMIT_S)
        finally:
            process.kill()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def alone() -> Iterator[LocalCluster]:
    """A coordinator whose only worker is the one that a test brings."""
    with LocalCluster(workers=1) as running:
        running.workers[0].terminate()
        assert running.workers[0].wait(LIMIT_S) == 0
        yield running


@pytest.fixture
def proxy(alone: LocalCluster) -> Iterator[Proxy]:
    with proxy_to(alone.address) as proxy:
        yield proxy


@pytest.fixture
def lonely(alone: LocalCluster, proxy: Proxy, tmp_path: Path) -> Iterator[Worker]:
    """The only worker, behind the proxy."""
    with worker_at(proxy.address, tmp_path / "worker") as worker:
        yield worker


def submit(client: Client, data: Path, rounds: int = ROUNDS) -> Job:
    settings = {"solver": "gradient_descent", "max_rounds": rounds, "tolerance": 0.0, "dtype": "float64"}
    return client.submit("logistic", data=str(data), target="60", shards=8, settings=settings)


def completed(job: Job) -> JobView:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view


@pytest.fixture(scope="module")
def reference(slow_data: Path, client: Client) -> str:
    """The model that nobody disturbed."""
    return completed(submit(client, slow_data)).parameters_sha256


def counted(client: Client, name: str, metric: str, **labels: str) -> float:
    """A counter of a worker's own metrics page."""
    (address,) = [worker.metrics_address for worker in client.workers() if worker.worker == name]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples if sample.name == metric]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def shards_loaded(client: Client) -> float:
    return counted(client, "held", "gradloom_shard_cache_total", result="miss")


# ---- connections that break


def test_cuts_cost_no_shard_no_name_and_no_bit(
    alone: LocalCluster, proxy: Proxy, lonely: Worker, slow_data: Path, reference: str
) -> None:
    with alone.client() as client:
        job = submit(client, slow_data)
        rounds = (event.what.round for event in job.watch() if isinstance(event.what, RoundCompleted))
        next(rounds)
        loaded = shards_loaded(client)
        for wanted in (3, 11, 12, 25):
            next(n for n in rounds if n >= wanted)
            proxy.cut()
            assert lonely.welcomed() == "held"
        assert completed(job).parameters_sha256 == reference
        assert shards_loaded(client) == loaded
        assert lonely.log().count("resumed the session with") == 4


def test_what_is_computed_over_a_cut_is_counted_and_not_computed_again(
    alone: LocalCluster, proxy: Proxy, lonely: Worker, slow_data: Path, reference: str
) -> None:
    with alone.client() as client:
        lonely.hold()
        job = submit(client, slow_data)
        lonely.wait_until_it_computes()
        proxy.cut()
        assert lonely.welcomed() == "held"
        (view,) = client.workers()
        assert (view.worker, view.state) == ("held", WorkerState.BUSY)
        lonely.let_go()
        assert completed(job).parameters_sha256 == reference
        assert counted(client, "held", "gradloom_worker_tasks_total", outcome="discarded") == 0


def test_what_ends_during_a_cut_is_answered_after_it(
    alone: LocalCluster, proxy: Proxy, lonely: Worker, slow_data: Path, reference: str
) -> None:
    with alone.client() as client:
        lonely.hold()
        job = submit(client, slow_data)
        lonely.wait_until_it_computes()
        proxy.cut(refuse=True)
        (view,) = client.workers()
        assert (view.worker, view.state) == ("held", WorkerState.AWAY)
        lonely.let_go()
        proxy.mend()
        assert lonely.welcomed() == "held"
        assert completed(job).parameters_sha256 == reference
        assert "resumed the session with" in lonely.log()


def test_a_connection_that_swallows_everything_is_noticed_and_the_job_goes_on(
    alone: LocalCluster, proxy: Proxy, lonely: Worker, slow_data: Path, reference: str
) -> None:
    with alone.client() as client:
        job = submit(client, slow_data)
        next(event for event in job.watch() if isinstance(event.what, RoundCompleted))
        loaded = shards_loaded(client)
        proxy.swallow()
        assert proxy.wait_for_connection(NOTICE_LIMIT_S), "the worker goes on talking to nobody"
        proxy.mend()
        assert lonely.welcomed() == "held"
        assert completed(job).parameters_sha256 == reference
        assert shards_loaded(client) == loaded


# ---- leaving


def test_sigterm_during_a_long_task_loses_nothing(
    cluster: LocalCluster, client: Client, slow_data: Path, tmp_path: Path, reference: str
) -> None:
    with worker_at(cluster.address, tmp_path / "worker") as worker:
        worker.hold()
        job = submit(client, slow_data)
        worker.wait_until_it_computes()
        worker.process.terminate()
        draining = [view.state for view in wait_until_draining(client)]
        assert draining == [WorkerState.DRAINING]
        worker.let_go()
        assert worker.process.wait(LIMIT_S) == 0
        view = completed(job)
        assert view.parameters_sha256 == reference
        assert view.retries == 0
        assert "leaving: SIGTERM" in worker.log()


def wait_until_draining(client: Client) -> list[WorkerView]:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if found := [view for view in client.workers() if view.state is WorkerState.DRAINING]:
            return found
    raise AssertionError("nobody drains")


def test_a_second_sigterm_ends_it_at_once_and_others_compute_its_task(
    cluster: LocalCluster, client: Client, slow_data: Path, tmp_path: Path, reference: str
) -> None:
    with worker_at(cluster.address, tmp_path / "worker") as worker:
        worker.hold()
        job = submit(client, slow_data)
        worker.wait_until_it_computes()
        worker.process.terminate()
        wait_until_draining(client)
        worker.process.terminate()
        assert worker.process.wait(LIMIT_S) == 0
        assert completed(job).parameters_sha256 == reference
