"""Real processes under real trouble: killed, stopped, starved of memory, cut off, on a full disk. No bit changes.

Nothing here waits for time to pass: each disturbance comes, and goes, when the job or the cluster has got somewhere.
"""

import json
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from builders.dawdling import ENDLESS, References, dawdle
from builders.namespaces import Far, NotPermitted, far_away
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.jobs import (
    JobEvent,
    JobState,
    JobView,
    Note,
    RoundCompleted,
    StateChanged,
    TaskRetried,
    WorkerView,
)

pytestmark = pytest.mark.system

SEED = 20_240_917
LIMIT_S = 60.0
ROUNDS = 150
COLUMNS = 60
KILLS = 5
COORDINATOR_KILLS = 20
EXCLUDED_AFTER = 3
COORDINATOR_KILLS_LIMIT_S = 120.0
"""Twenty starts of a process that takes more than a second, on a machine that may be busy."""
DISK_BYTES = 1024 * 1024
SPARE_BYTES = 16 * 1024 * 1024
"""Of memory, for a worker that is to have too little."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40,000 rows and a target; the jobs that train on them dawdle."""
    return rows_in(tmp_path_factory.mktemp("chaos"), 40_000)


def rows_in(folder: Path, number: int) -> Path:
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((number, COLUMNS), dtype=np.float32)
    y = (X @ rng.standard_normal(COLUMNS) + rng.standard_normal(len(X)) > 0).astype(np.float32)
    path = folder / "rows.npy"
    np.save(path, np.column_stack([X, y]))
    return path


def submit(
    client: Client, data: Path, *, rounds: int = ENDLESS, shards: int = 24, dtype: str = "float32"
) -> Job:
    settings = {"solver": "gradient_descent", "max_rounds": rounds, "tolerance": 0.0, "dtype": dtype}
    target = str(COLUMNS)
    return client.submit("logistic", data=str(data), target=target, shards=shards, seed=3, settings=settings)


def completed(job: Job) -> JobView:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Whatever becomes of its workers, each test finds at least two that are well."""
    with LocalCluster(workers=3, allow_chaos=True) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="module")
def references(cluster: LocalCluster, data: Path) -> Iterator[References]:
    """The hashes of the jobs that nobody disturbs."""
    with cluster.client() as client:
        yield References(lambda rounds: submit(client, data, rounds=rounds))


def begun(client: Client, data: Path, *workers: str, rounds: int = ENDLESS) -> tuple[Job, Iterator[JobEvent]]:
    """A job whose workers dawdle from its first rounds on, and what happens to it."""
    job = submit(client, data, rounds=rounds)
    events = job.watch()
    until_round(events, 2)
    dawdle(client, workers=workers)
    return job, events


def until_round(events: Iterator[JobEvent], wanted: int) -> int:
    """Wait until so many rounds are done; how many are."""
    for event in events:
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return event.what.round
    raise AssertionError(f"the job ended before round {wanted}")


def until_said(events: Iterator[JobEvent], words: str) -> None:
    for event in events:
        if isinstance(event.what, Note) and words in event.what.text:
            return
    raise AssertionError(f"nobody said {words!r}")


def until_state(events: Iterator[JobEvent], state: JobState) -> str:
    """The reason of the next step to this state."""
    for event in events:
        if isinstance(event.what, StateChanged) and event.what.state is state:
            return event.what.reason
    raise AssertionError(f"the job was never {state}")


def until(client: Client, what: str, holds: Callable[[dict[str, WorkerView]], bool]) -> None:
    """Wait until something holds of the workers; each look is an RPC, so this does not spin."""
    deadline = time.monotonic() + LIMIT_S
    while not holds({view.worker: view for view in client.workers()}):
        assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"


def retries_of(job: Job) -> list[TaskRetried]:
    return [event.what for event in job.watch() if isinstance(event.what, TaskRetried)]


# ---- workers


@pytest.mark.parametrize("seed", [SEED])
def test_workers_that_are_killed_again_and_again_change_no_bit(
    seed: int, cluster: LocalCluster, client: Client, data: Path, references: References
) -> None:
    rng, well, done = random.Random(seed), list(cluster.workers), 0
    job, events = begun(client, data)
    with ThreadPoolExecutor() as starting:
        coming: list[Future[subprocess.Popen[bytes]]] = []
        for _ in range(KILLS):
            if not well:
                well.append(coming.pop(0).result(LIMIT_S))
            done = until_round(events, done + rng.randint(3, 12))
            well.pop(rng.randrange(len(well))).kill()
            coming.append(starting.submit(cluster.add_worker))
    references.check(client, job)
    assert {retry.reason.value: retry for retry in retries_of(job)}.keys() <= {"stream_reset", "worker_lost"}


def stopped(process: "subprocess.Popen[bytes]") -> str:
    """Stop a worker; the name it has, or had."""
    process.send_signal(signal.SIGSTOP)
    return name_of(process)


def name_of(process: "subprocess.Popen[bytes]") -> str:
    words = psutil.Process(process.pid).cmdline()
    return str(words[words.index("--name") + 1])


def last_alive(cluster: LocalCluster) -> "subprocess.Popen[bytes]":
    return next(worker for worker in reversed(cluster.workers) if worker.poll() is None)


def stand_still(client: Client, worker: "subprocess.Popen[bytes]", silent_s: float) -> None:
    """Stop a worker until nothing was heard of it for so long; back once it is heard again."""
    name = stopped(worker)
    try:
        until(client, f"{name} is silent", lambda seen: seen[name].heartbeat_age_s > silent_s)
    finally:
        worker.send_signal(signal.SIGCONT)
    until(client, f"{name} is heard", lambda seen: seen[name].heartbeat_age_s < 1.0)


def test_a_worker_that_stands_still_for_less_than_the_limit_is_not_given_up(
    cluster: LocalCluster, client: Client, data: Path, references: References
) -> None:
    (job, events), done = begun(client, data), 0
    victim = last_alive(cluster)
    name = name_of(victim)
    for silent_s in (1.0, 3.8):
        done = until_round(events, done + 10)
        stand_still(client, victim, silent_s)
    references.check(client, job)
    assert "heartbeat_timeout" not in {retry.reason.value for retry in retries_of(job)}
    assert {view.worker: view for view in client.workers()}[name].connected_s > 1.0 + 3.8


def test_a_worker_that_stands_still_for_too_long_is_given_up_and_comes_back(
    cluster: LocalCluster, client: Client, data: Path, references: References
) -> None:
    job, events = begun(client, data)
    until_round(events, 10)
    victim = last_alive(cluster)
    name = stopped(victim)
    try:
        until_said(events, f"worker {name} is gone: no sign of life")
    finally:
        victim.send_signal(signal.SIGCONT)
    until(client, f"{name} is back", lambda seen: name in seen)
    references.check(client, job)
    assert {retry.reason.value: retry for retry in retries_of(job)}.keys() <= {"heartbeat_timeout"}


def test_a_worker_without_memory_fails_its_tasks_and_others_take_over(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    many = rows_in(tmp_path, 400_000)

    def big_shards() -> Job:
        """48 MB each, which malloc asks the kernel for."""
        return submit(client, many, rounds=10, shards=4, dtype="float64")

    undisturbed = completed(big_shards()).parameters_sha256
    cluster.add_worker()
    starved = last_alive(cluster)
    name = name_of(starved)
    room = psutil.Process(starved.pid).memory_info().vms + SPARE_BYTES
    resource.prlimit(starved.pid, resource.RLIMIT_AS, (room, room))
    try:
        job = big_shards()
        assert completed(job).parameters_sha256 == undisturbed
        retries = retries_of(job)
        assert {(retry.worker, retry.reason.value) for retry in retries} == {(name, "out_of_memory")}
        assert "out of memory: Unable to allocate" in retries[0].detail
        if len(retries) >= EXCLUDED_AFTER:
            until_said(job.watch(), f"worker {name} is excluded")
        assert starved.poll() is None, "it survives"
    finally:
        starved.kill()


# ---- networks


@pytest.fixture
def far() -> Iterator[Far]:
    try:
        with far_away() as place:
            yield place
    except NotPermitted as error:
        pytest.skip(f"network namespaces are not to be had here: {error}")


@contextmanager
def worker_there(far: Far, address: str) -> Iterator[str]:
    """A worker at the far end; its name."""
    options = (
        "--name",
        "far",
        "--allow-chaos",
        "--metrics-port",
        "-1",
        "--announce",
        "--exit-with-stdin",
        "--insecure",
        "--data-allow",
        "/",
    )
    with far.start("gradloom_worker", "--coordinator", address, *options) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["worker"]
        finally:
            process.stdin.close()
            process.kill()


def test_a_network_that_is_cut_and_mended_changes_no_bit(
    far: Far, data: Path, references: References
) -> None:
    with (
        LocalCluster(workers=1, host=far.here, insecure=True, data_allow=("/",), allow_chaos=True) as cluster,
        cluster.client() as client,
        worker_there(far, cluster.address) as name,
    ):
        job, events = begun(client, data)
        until_round(events, 10)
        far.cut()
        until_said(events, f"worker {name} is gone: no sign of life")
        far.mend()
        until(client, f"{name} is back", lambda seen: name in seen)
        references.check(client, job)
        # its tasks may have been copied before it was given up: then none is left to be tried again
        assert {retry.reason.value: retry for retry in retries_of(job)}.keys() <= {"heartbeat_timeout"}


@pytest.mark.parametrize(
    "queue",
    [
        pytest.param("netem delay 20ms 5ms loss 2% rate 1mbit", id="delay and loss"),
        pytest.param("tbf rate 128kbit burst 4kb latency 300ms", id="rate"),
    ],
)
def test_a_slow_network_changes_no_bit(queue: str, far: Far, data: Path, references: References) -> None:
    try:
        far.slow(*queue.split())
    except NotPermitted as error:
        pytest.skip(f"this kernel has no such queue: {error}")
    with (
        LocalCluster(workers=2, host=far.here, insecure=True, data_allow=("/",), allow_chaos=True) as cluster,
        cluster.client() as client,
        worker_there(far, cluster.address) as name,
    ):
        job, _ = begun(client, data)
        until(client, f"{name} is blamed", lambda seen: seen[name].straggler.startswith("network: "))
        far.hurry()
        references.check(client, job)
        assert next(share for share in job.view().workers if share.worker == name).rows > 0


# ---- the coordinator


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(
        ["mount", *options], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=LIMIT_S)


def test_a_full_disk_under_the_data_folder_pauses_the_job_until_there_is_room(
    small_disk: Path, data: Path, references: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.1")
    with (
        LocalCluster(workers=2, data_dir=small_disk, allow_chaos=True) as cluster,
        cluster.client() as client,
    ):
        job, events = begun(client, data)
        until_round(events, 5)
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(b"x" * 2 * DISK_BYTES)
        reason = until_state(events, JobState.PAUSED)
        assert "full" in reason or "No space left" in reason
        ballast.unlink()
        assert "can be written to again" in until_state(events, JobState.RUNNING)
        references.check(client, job)


@pytest.mark.parametrize("seed", [SEED])
def test_a_coordinator_that_is_killed_twenty_times_in_one_job_changes_no_bit(
    seed: int, data: Path, references: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.1")
    with (
        LocalCluster(workers=2, data_dir=tmp_path, allow_chaos=True) as cluster,
        cluster.client() as client,
    ):
        began = time.monotonic()
        job, _ = begun(client, data, rounds=ROUNDS)
        for number in range(COORDINATOR_KILLS):
            some_rounds(job, rng.randint(0, 8))
            assert not job.view().state.final, f"it ended before kill {number}"
            cluster.kill_coordinator()
            cluster.restart_coordinator()
        assert completed(job).parameters_sha256 == references(ROUNDS)
        assert time.monotonic() - began < COORDINATOR_KILLS_LIMIT_S
        notes = [event.what.text for event in job.watch() if isinstance(event.what, Note)]
        assert any(text.startswith("the coordinator came back; goes on from round") for text in notes)
        assert all(worker.poll() is None for worker in cluster.workers), "workers wait for it to come back"


def some_rounds(job: Job, number: int) -> None:
    """Wait for so many more."""
    done = job.view().rounds
    if number:
        until_round(job.watch(), done + number)
