"""A running cluster and its workers: facts -> findings. Pure."""

from collections.abc import Callable, Iterator

from gradloom.doctor.facts import ClusterFact, Facts, Finding, Level
from gradloom.jobs import WorkerView
from gradloom.words import memory_text, seconds_text

CLOCK_WARN_S, CLOCK_BAD_S = 2.0, 60.0
SLOW_ROUND_TRIP_S = 0.2
SILENT_S = 3.0
FEWEST_FILES = 256
LEAST_MEMORY_BYTES = 256 * 2**20
NTP = "keep clocks in step with NTP (chrony, systemd-timesyncd) on both machines"


def cluster(facts: Facts, cluster: ClusterFact) -> Iterator[Finding]:
    """What the cluster says of itself, and what its workers say."""
    if cluster.problem:
        mend = "docs/tls.md and docs/security.md say how people and machines are let in"
        if cluster.away:
            mend = "start it (gradloom up, docker compose up), or name it with --cluster HOST:PORT"
        yield Finding(Level.BAD, "cluster", cluster.problem, mend)
        return
    who = f"; it knows you as {cluster.who or 'somebody'} ({cluster.role})" if cluster.role else ""
    yield Finding(
        Level.OK, "cluster", f"{cluster.address} answers in {seconds_text(cluster.round_trip_s)}{who}"
    )
    if cluster.round_trip_s > SLOW_ROUND_TRIP_S:
        what = f"a question takes {seconds_text(cluster.round_trip_s)}"
        yield Finding(
            Level.WARN, "cluster", what, "the network is slow or the coordinator is busy: docs/monitoring.md"
        )
    if cluster.version != facts.version:
        what = (
            f"the coordinator runs gradloom {cluster.version or 'of no version'}, this side {facts.version}"
        )
        yield Finding(
            Level.WARN, "cluster", what, f"install the same here: pip install gradloom=={cluster.version}"
        )
    if cluster.clock_offset_s is not None:
        yield _clock(
            "the coordinator's clock", cluster.clock_offset_s, cluster.offset_error_s, "this machine's"
        )
    if not cluster.workers:
        what, mend = "there are no workers", "start some: gradloom-worker --coordinator HOST:PORT"
        yield Finding(Level.WARN, "workers", what, mend)
        return
    yield from _workers(cluster)


def _clock(whose: str, offset_s: float, error_s: float, against: str) -> Finding:
    off_s = max(0.0, abs(offset_s) - error_s)
    way = "ahead of" if offset_s > 0 else "behind"
    what = f"{whose} is {abs(offset_s):.2f} s {way} {against}"
    if off_s > CLOCK_BAD_S:
        return Finding(Level.BAD, "clocks", f"{what}: certificates and tokens may seem expired", NTP)
    if off_s > CLOCK_WARN_S:
        return Finding(Level.WARN, "clocks", f"{what}: times in events and logs don't agree", NTP)
    return Finding(Level.OK, "clocks", what)


def _workers(cluster: ClusterFact) -> Iterator[Finding]:
    said = [worker for worker in cluster.workers if worker.clock_offset_s is not None]
    offs = [
        _clock(f"the clock of {one.worker}", one.clock_offset_s or 0.0, 0.0, "the coordinator's")
        for one in said
    ]
    wrong = [one for one in offs if one.level is not Level.OK]
    yield from wrong
    if said and not wrong:
        yield Finding(Level.OK, "clocks", f"the clocks of {len(said)} workers agree with the coordinator's")
    found = [finding for worker in cluster.workers for finding in _worker(worker, cluster.version)]
    found += _differences(cluster.workers)
    yield Finding(Level.OK, "workers", f"{len(cluster.workers)} workers: {_kinds(cluster.workers)}")
    yield from found


def _worker(worker: WorkerView, version: str) -> Iterator[Finding]:
    if worker.version != version:
        what = f"{worker.worker} on {worker.host} runs gradloom {worker.version}, the coordinator {version}"
        yield Finding(Level.BAD, "workers", what, f"install the same there: pip install gradloom=={version}")
    if worker.heartbeat_age_s > SILENT_S:
        what = f"{worker.worker} has been silent for {worker.heartbeat_age_s:.1f} s"
        yield Finding(
            Level.WARN, "workers", what, f"gradloom why {worker.worker}; docs/runbooks/HeartbeatStale.md"
        )
    if worker.runtime is not None and worker.runtime.blas_threads > 1:
        what = (
            f"{worker.worker} multiplies in {worker.runtime.blas_threads} threads: its sums have other bits"
        )
        yield Finding(
            Level.BAD, "BLAS", what, "start it by gradloom-worker, which takes one; OPENBLAS_NUM_THREADS=1"
        )
    if worker.runtime is not None and 0 < worker.runtime.open_files < FEWEST_FILES:
        what = f"{worker.worker} may have only {worker.runtime.open_files} files open"
        yield Finding(Level.WARN, "open files", what, "raise it there: ulimit -n 4096")
    if worker.memory_bytes < LEAST_MEMORY_BYTES:
        what = f"{worker.worker} has {memory_text(worker.memory_bytes)} of memory"
        yield Finding(Level.WARN, "memory", what, "give it more, or a smaller cache: --cache-bytes")


def _differences(workers: tuple[WorkerView, ...]) -> Iterator[Finding]:
    """Machines that multiply by other kernels may differ in the last bit."""
    known = [worker for worker in workers if worker.runtime is not None]
    for area, name, kinds in (
        ("BLAS", "kernels", _by_kind(known, lambda one: one.runtime.blas if one.runtime else "")),
        (
            "versions",
            "versions of numpy",
            _by_kind(known, lambda one: one.runtime.numpy if one.runtime else ""),
        ),
    ):
        if len(kinds) < 2:
            continue
        told = "; ".join(f"{kind or 'unknown'}: {', '.join(names)}" for kind, names in sorted(kinds.items()))
        mend = "set OPENBLAS_CORETYPE alike on all of them, and install the same numpy"
        what = f"workers have different {name}, and may differ in the last bits: {told}"
        yield Finding(Level.WARN, area, what, mend)


def _by_kind(workers: list[WorkerView], kind: Callable[[WorkerView], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for worker in workers:
        found.setdefault(kind(worker), []).append(worker.worker)
    return found


def _kinds(workers: tuple[WorkerView, ...]) -> str:
    hosts = {one.host: one for one in workers}.values()  # workers that share a machine share its cores
    cores, memory = sum(one.cores for one in hosts), sum(one.memory_bytes for one in hosts)
    blas = sorted({one.runtime.blas for one in workers if one.runtime is not None and one.runtime.blas})
    return ", ".join([f"{cores:g} cores", f"{memory_text(memory)} memory", *blas])
