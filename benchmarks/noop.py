"""A cluster that computes nothing: real coordinator, real workers, real sockets, and an algorithm whose partial is
its broadcast. What a round takes then is what gradloom itself costs."""

import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from floors import Peers

from gradloom import algorithms
from gradloom.algorithms.algorithm import Needs, Progress, Settings, WholeRounds
from gradloom.certificate_folder import found_authority, issue_into
from gradloom.certificates import CertificateRole, Wish
from gradloom.credentials import utc_now
from gradloom.data.shard import Rows, Shard
from gradloom.jobs import RoundCompleted
from gradloom.memory import tune_malloc
from gradloom.models import Linear, Model
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.settings import CoordinatorSettings, WorkerSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom.tensors import Tensors, sum_tensors
from gradloom.tls import ClusterTls, TlsFiles


class NoopSettings(Settings):
    """How much to send, how often."""

    n_bytes: int = 4096
    rounds: int = 100


@dataclass(frozen=True, slots=True)
class NoopState:
    round: int
    parameters: np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Noop(WholeRounds):
    """Sends its parameters down and up again; the sum becomes the next parameters."""

    settings: NoopSettings
    name: str = "noop"
    version: int = 1

    @property
    def needs(self) -> Needs:
        return Needs("regression", "float32", standardize=False)

    def start(self, schema: Schema) -> NoopState:
        return NoopState(0, np.ones(self.settings.n_bytes // 8))

    def broadcast(self, state: NoopState) -> Tensors:
        return {"parameters": state.parameters}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        return {"parameters": message["parameters"]}

    merge = staticmethod(sum_tensors)

    def update(self, state: NoopState, total: Tensors) -> NoopState:
        return replace(state, round=state.round + 1)

    def save(self, state: NoopState) -> Saved:
        return save_value(state)

    def restore(self, schema: Schema, saved: Saved) -> NoopState:
        return restore_value(NoopState, saved)

    def done(self, state: NoopState) -> str | None:
        return "enough" if state.round >= self.settings.rounds else None

    def finish(self, state: NoopState) -> Model:
        return Linear(
            algorithm="noop",
            version=1,
            features=("0",),
            target="1",
            classes=None,
            coefficients=np.zeros(1),
            intercept=np.zeros(()),
        )

    def progress(self, state: NoopState) -> Progress:
        return Progress(state.round, self.settings.rounds)

    def solution(self, state: NoopState) -> Tensors:
        return {}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        return {}

    def scores(self, total: Tensors) -> dict[str, float]:
        return {}


def register() -> None:
    """Make the algorithm known in this process."""
    algorithms.register("noop", version=1, summary="nothing", settings=NoopSettings, make=Noop)


def make_tls(folder: Path) -> ClusterTls:
    """Certificates for a cluster on this machine."""
    found_authority(folder, utc_now())
    for role in (CertificateRole.COORDINATOR, CertificateRole.WORKER, CertificateRole.ADMIN):
        issue_into(folder, Wish(role, role, ("127.0.0.1",), 1.0), utc_now())
    return ClusterTls.of(folder)


def host_workers(count: int, address: str, tls: TlsFiles | None = None) -> None:
    """Run several workers in one process, each with its own streams."""
    from gradloom_worker.runtime import WorkerRuntime

    tune_malloc()
    register()

    async def run() -> None:
        settings = WorkerSettings(coordinator=address, give_up_after_s=30, tls=tls)
        runtimes = [WorkerRuntime(settings) for _ in range(count)]
        await asyncio.gather(*(runtime.run() for runtime in runtimes))

    asyncio.run(run())


@dataclass(frozen=True, slots=True)
class Measured:
    """What one job of empty rounds took."""

    seconds: list[float]
    """Between the ends of consecutive rounds."""
    cpu_seconds: float
    """CPU time of the coordinator for each round."""
    peak_bytes: list[int]
    """Growth of the coordinator's peak memory over its idle state, after each round."""


async def noop_rounds(
    folder: Path,
    start_peers: Callable[[str], Any],
    n_workers: int,
    n_bytes: int,
    rounds: int,
    warmup: int,
    tls: TlsFiles | None = None,
) -> Measured:
    """Serve a cluster in this process and run one job on it; ``start_peers`` is given the address."""
    from gradloom_coordinator.server import start

    data = folder / f"{n_workers}.npy"
    np.save(data, np.zeros((n_workers, 2)))
    running = await start(CoordinatorSettings(port=0, data_dir=folder, tls=tls))
    peers = start_peers(running.addresses.address)
    while len(running.coordinator.attendance.links) < n_workers:  # noqa: ASYNC110 - what joins is counted outside of asyncio
        await asyncio.sleep(0.01)
    settings = {"n_bytes": str(n_bytes), "rounds": str(rounds + warmup)}
    spec = JobSpec("noop", DataSpec((str(data),), target="1", shards=n_workers), settings)
    idle = _peak()
    view = await running.coordinator.submit(spec, "")
    ends: list[float] = []
    peaks: list[int] = []
    cpu = 0.0
    async for event in running.coordinator.records.named(view.job_id).journal.follow(0):
        if isinstance(event.what, RoundCompleted):
            ends.append(event.at)
            peaks.append(_peak() - idle)
            if event.what.round == warmup:
                cpu = time.process_time()
    cpu = (time.process_time() - cpu) / rounds
    final = running.coordinator.view(running.coordinator.records.named(view.job_id))
    assert final.rounds == rounds + warmup, final.reason
    peers.stop()
    await running.stop()
    seconds = [later - earlier for earlier, later in pairwise(ends)]
    return Measured(seconds[warmup:], cpu, peaks)


def rounds_of(groups: list[int], n_bytes: int, rounds: int, warmup: int, secured: bool = False) -> Measured:
    """Empty rounds in this process with so many workers in each of other ones; ``secured``: over mutual TLS."""
    tune_malloc()
    register()
    with tempfile.TemporaryDirectory() as folder:
        tls = make_tls(Path(folder) / "certs") if secured else None
        worker, coordinator = (None, None) if tls is None else (tls.worker, tls.coordinator)

        def start_peers(address: str) -> Peers:
            return Peers(host_workers, groups, address, worker)

        return asyncio.run(
            noop_rounds(Path(folder), start_peers, sum(groups), n_bytes, rounds, warmup, coordinator)
        )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_process(target: Callable[..., Any], *arguments: object) -> Any:
    """Run a measurement in a process of its own, so that no other one's memory or threads are in it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(target, *arguments).result()
