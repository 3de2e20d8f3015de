"""``gradloom train`` and ``gradloom watch``: check, submit, follow, and say how it ended.

What can be refused is refused before any process is started. A job on a cluster of one's own ends with the
command; a job on a running cluster goes on when the command is interrupted.
"""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gradloom.cli.connecting import connect
from gradloom.cli.interrupts import terminate_as_interrupt
from gradloom.cli.live import LiveScreen
from gradloom.cli.output import results, say, write_json, write_line
from gradloom.cli.progress import LineScreen, Screen, follow
from gradloom.cli.views import job_result, job_values
from gradloom.client import Client, Job, absolute_uris, raise_unless_completed
from gradloom.errors import GradloomError, InvalidInput, Unavailable
from gradloom.jobs import JobState, JobView
from gradloom.local import LocalCluster
from gradloom.specs import DataSpec, JobSpec, check_spec

DEFAULT_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster trains: a running one, or one of our own."""

    cluster: str | None
    """host:port; None = a cluster of our own."""
    workers: int | None
    """Workers of our own cluster; None = ``default_workers()``."""
    detach: bool
    """Leave the job to the running cluster as soon as it is queued."""


def train(spec: JobSpec, where: Where, out: Path | None, *, as_json: bool) -> None:
    """Train one model. Raises GradloomError for whatever goes wrong, KeyboardInterrupt when interrupted."""
    _check_where(where, out)
    check_spec(spec)
    if out is not None:
        check_writable(out)
    if where.cluster is not None:
        with connect(where.cluster) as client:
            _train_on_running(client, spec, where, out, as_json)
        return
    _check_before_start(spec)
    with terminate_as_interrupt(), _own_cluster(where.workers) as client:
        job = client.submit_spec(spec)
        with _cancelled_when_interrupted(job):
            follow(job.until_settled(), screen_of(client, job))
            view, path = _fetch(job, out)
    _report(view, path, as_json)
    if view.state is JobState.SERVING:
        say(
            "its rows went with the cluster; on a running one (gradloom up, --cluster) it would serve queries now"
        )
    elif out is None:
        say("the model went with the cluster; --out FILE keeps it")


def screen_of(client: Client, job: Job) -> Screen:
    """Where a job is shown: what stderr is good for."""
    if not sys.stderr.isatty():
        return LineScreen()
    return LiveScreen(lambda: (job.view(), client.workers()))


def watch(client: Client, job: Job, *, as_json: bool) -> None:
    """Follow a job to its end. Raises JobFailed or JobCancelled if that is how it ended."""
    follow(job.until_settled(), screen_of(client, job))
    view, _ = _fetch(job, None)
    _report(view, None, as_json)


def spec_of(
    algorithm: str,
    data: Sequence[str],
    *,
    target: str,
    features: str,
    weight: str,
    data_format: str,
    shards: int,
    test_fraction: float,
    seed: int,
    placement: str,
    synchrony: str,
    codec: str,
    downlink: str,
    speculation: bool,
    share_weight: float,
    required_labels: Sequence[str],
    settings: Sequence[str],
) -> JobSpec:
    """A specification from the words of a command line: ``features`` ``a,b,c``, the others ``name=value``."""
    source = DataSpec(
        uris=absolute_uris(data),
        target=target,
        features=tuple(name.strip() for name in features.split(",") if name.strip()),
        weight=weight,
        format=data_format,
        shards=shards,
    )
    return JobSpec(
        algorithm,
        source,
        parse_pairs("--set", settings, "l2=0.01"),
        test_fraction,
        seed,
        placement,
        synchrony=synchrony,
        codec=codec,
        downlink=downlink,
        share_weight=share_weight,
        required_labels=parse_pairs("--require-label", required_labels, "zone=a"),
        speculation="on" if speculation else "off",
    )


def parse_pairs(option: str, words: Sequence[str], example: str) -> dict[str, str]:
    """``name=value`` words of an option as a mapping. Raises InvalidInput."""
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip()
        if not (name and equals):
            raise InvalidInput(option, f"{word!r} is not allowed; write NAME=VALUE, e.g. {option} {example}")
        if name in pairs:
            raise InvalidInput(option, f"{name!r} is given twice, as {pairs[name]!r} and as {value!r}")
        pairs[name] = value
    return pairs


def check_writable(out: Path) -> None:
    """Refuse a file that can't be written, before hours are spent on what it shall hold. Raises InvalidInput."""
    folder = out.absolute().parent
    if out.is_dir():
        raise InvalidInput("out", f"{out} is a folder; the name of a file is needed")
    if not folder.is_dir():
        raise InvalidInput("out", f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise InvalidInput("out", f"the folder {folder} can't be written to")


def default_workers() -> int:
    """As many workers as this process may use cores, at most DEFAULT_WORKERS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(DEFAULT_WORKERS, cores))


def _check_where(where: Where, out: Path | None) -> None:
    if where.cluster is not None and where.workers is not None:
        raise InvalidInput(
            "workers",
            f"{where.workers} sizes a cluster of your own; --cluster {where.cluster} has its workers",
        )
    if where.detach and where.cluster is None:
        raise InvalidInput(
            "detach", "needs --cluster: a cluster of your own lives only as long as this command"
        )
    if where.detach and out is not None:
        raise InvalidInput("out", "there is no model yet with --detach; fetch it later with: gradloom model")


def _check_before_start(spec: JobSpec) -> None:
    from gradloom.algorithms import build
    from gradloom.data.planning import expand

    build(spec.algorithm, spec.settings)
    expand(spec.data.uris)


def _train_on_running(client: Client, spec: JobSpec, where: Where, out: Path | None, as_json: bool) -> None:
    job = client.submit_spec(spec)
    if where.detach:
        _report_queued(job, client.address, as_json)
        return
    with _explained_when_interrupted(job, client.address):
        follow(job.until_settled(), screen_of(client, job))
        view, path = _fetch(job, out)
    _report(view, path, as_json)
    if view.state is JobState.SERVING:
        say(f"ask it:  gradloom predict {job.id} --cluster {client.address} --data ... --out ...")
        say(f"end it:  gradloom cancel {job.id} --cluster {client.address}")


@contextmanager
def _own_cluster(workers: int | None) -> Iterator[Client]:
    count = default_workers() if workers is None else workers
    cluster = LocalCluster(count)
    say(f"starting a cluster of {count} worker{'s' if count > 1 else ''} on this machine")
    with cluster, cluster.client() as client:
        threading.Thread(target=_close_at_its_end, args=(cluster, client), daemon=True).start()
        try:
            yield client
        except Unavailable as error:
            status = cluster.coordinator.poll()
            if status is None:
                raise
            words = cluster.last_words("coordinator")
            raise Unavailable(f"the coordinator ended with status {status}: {words}") from error


def _close_at_its_end(cluster: LocalCluster, client: Client) -> None:
    """A client waits for a lost coordinator to come back; one of our own never does."""
    while cluster.wait_for_end() != "coordinator":
        pass
    client.close()


@contextmanager
def _cancelled_when_interrupted(job: Job) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted: cancelling job {job.id} and stopping the cluster")
        try:
            job.cancel("interrupted by the user")
        except GradloomError as error:
            say(f"it could not be cancelled first: {error}")
        raise


@contextmanager
def _explained_when_interrupted(job: Job, address: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"job {job.id} goes on at {address}")
        say(f"watch it:  gradloom watch {job.id} --cluster {address}")
        say(f"end it:    gradloom cancel {job.id} --cluster {address}")
        raise


def _fetch(job: Job, out: Path | None) -> tuple[JobView, Path | None]:
    view = job.view()
    raise_unless_completed(view)
    if out is not None:
        job.model().save(out)
    return view, out


def _report(view: JobView, path: Path | None, as_json: bool) -> None:
    if as_json:
        write_json({**job_values(view), "model": None if path is None else str(path)})
        return
    results().print(job_result(view))
    if path is not None:
        write_line(f"model   {path}")


def _report_queued(job: Job, address: str, as_json: bool) -> None:
    view = job.view()
    if as_json:
        write_json({**job_values(view), "model": None})
        return
    write_line(job.id)
    say(f"job {job.id} is {view.state}; watch it:  gradloom watch {job.id} --cluster {address}")
