"""Every panel of the dashboards on a real Prometheus, while a real cluster suffers: all have data, and those about
stragglers and retries name the workers that were hurt.

Four workers: worker-0 computes NaN once, worker-1 is slow, worker-2 is killed, and the connection of "far" is reset.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from builders.dashboards import PROMETHEUS, Asked, annotations, asked, families_in
from builders.prometheus import Prometheus, prometheus_for, targets
from builders.proxy import Proxy, proxy_to
from gradloom import Client, LocalCluster
from gradloom.faults import Fault, FaultKind
from gradloom.handles import Job
from gradloom.jobs import JobState, RoundCompleted

pytestmark = pytest.mark.system

LIMIT_S = 100.0
WIDE = 5000
"""Columns of a job whose gradients are big enough for a codec."""
ENDLESS = 1_000_000
BEFORE_S = 5.0
"""What has happened once shows only beside a value from before."""
UNUSED = {
    "python_info": "which Python runs is no matter of time",
    "python_gc_objects_collected_total": "collections are shown; how much each of them found says little",
    "python_gc_objects_uncollectable_total": "stays 0 in Python 3",
}
"""Metrics that no panel and no rule asks for, and why."""
MAY_BE_EMPTY = {"reason", "what"}
"""Labels that not every event has; an empty label is none to Prometheus."""


@dataclass(frozen=True)
class Scene:
    """What is left when everything has happened."""

    prometheus: Prometheus
    jobs: tuple[str, ...]
    """The one that went through all of it first, then one with a codec and one that has ended."""
    hurt_at: float
    pages: tuple[str, ...]
    """Of the coordinator and of workers that are still there."""

    def resolved(self, query: Asked, job: str = ".*", worker: str = ".*", since: float | None = None) -> str:
        """A query with the variables that a person would choose."""
        seconds = int(time.time() - (self.prometheus.started_at if since is None else since)) + 1
        chosen = {"job_id": job, "worker": worker, "__rate_interval": "10s", "__range": f"{seconds}s"}
        return query.resolved(chosen)

    def choices(self, query: Asked) -> list[str]:
        """The same for each that can be chosen, where one job or one worker is."""
        match query.board:
            case "gradloom-job":
                return [self.resolved(query, job=job) for job in self.jobs]
            case "gradloom-worker":
                return [self.resolved(query, worker=worker) for worker in ("worker-1", "worker-0")]
            case _:
                return [self.resolved(query)]

    def query(self, title: str) -> Asked:
        """The only one of a panel of the main dashboard."""
        (query,) = (q for q in asked() if (q.board, q.panel) == ("gradloom-cluster-and-job", title))
        return query

    def panel(self, title: str, before_s: float = 0.0) -> dict[tuple[str, ...], float]:
        """The bars of a panel of the main dashboard, for the time since the faults, and a little before."""
        return self.prometheus.now(self.resolved(self.query(title), since=self.hurt_at - before_s))


def saved(path: Path, rows: int, columns: int) -> str:
    rng = np.random.default_rng(11)
    X = rng.standard_normal((rows, columns), dtype=np.float32)
    y = (X @ rng.standard_normal(columns).astype(np.float32) > 0).astype(np.float32)
    np.save(path, np.column_stack([X, y]))
    return str(path)


@contextmanager
def worker_behind(proxy: Proxy, folder: Path) -> Iterator[None]:
    options = ["--name", "far", "--metrics-port", "0", "--announce", "--exit-with-stdin"]
    command = [sys.executable, "-m", "gradloom_worker", "--coordinator", proxy.address, *options]
    with (folder / "far.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline(), (folder / "far.log").read_text()
            yield
        finally:
            process.stdin.close()


def while_it_runs(job: Job, what: str, holds: Callable[[], bool]) -> None:
    """Wait for something while a job's rounds go by: they are the clock."""
    deadline, before = time.monotonic() + LIMIT_S, 0.0
    for event in job.watch(timeout_s=LIMIT_S):
        if isinstance(event.what, RoundCompleted) and event.at - before > 0.5 and event.at > time.time() - 2:
            before = event.at
            if holds():
                return
        assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"
    raise AssertionError(f"the job has ended before: {what}")


def endless(client: Client, data: str, columns: int, **options: str) -> Job:
    settings = {"solver": "adam", "max_rounds": ENDLESS, "tolerance": 0.0, "validation_fraction": 0.1}
    return client.submit("logistic", data=data, target=str(columns), shards=16, settings=settings, **options)


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as answer:
        text: str = answer.read().decode()
    return text


def until_busy(client: Client, worker: str) -> None:
    """Wait until a worker has tasks in hand; each look is an RPC, so this does not spin."""
    deadline = time.monotonic() + LIMIT_S
    while not any(view.worker == worker and view.tasks_in_flight for view in client.workers()):
        assert time.monotonic() < deadline, f"{worker} had nothing to do for {LIMIT_S:g} s"


def suffer(client: Client, proxy: Proxy, job: Job, prometheus: Prometheus) -> float:
    """NaN, a slow worker, a reset, a kill, and a person who changes the job; when that began."""

    def grew(expr: str, least: float = 1) -> Callable[[], bool]:
        return lambda: sum(prometheus.now(expr).values()) >= least

    while_it_runs(
        job, "it is seen", grew(f'count_over_time(gradloom_rounds_total{{job_id="{job.id}"}}[1m])', 3)
    )
    hurt_at = time.time()
    client.inject(
        "worker-0", Fault(FaultKind.NAN, count=2)
    )  # one of them may be of a task that is called off
    client.inject("worker-1", Fault(FaultKind.SLOW, seconds=3000.0, factor=200.0))
    proxy.cut()
    job.update(speculation=False, settings={"learning_rate": 0.01})
    while_it_runs(
        job, "a slow worker", grew('gradloom_stragglers_detected_total{worker="worker-1",cause="compute"}', 3)
    )
    while_it_runs(job, "a NaN", grew('gradloom_task_retries_total{worker="worker-0",reason="nonfinite"}'))
    while_it_runs(job, "a reset", grew('gradloom_grpc_stream_reconnects_total{worker="far"}'))
    client.inject("worker-2", Fault(FaultKind.SLOW, seconds=3000.0, factor=200.0))
    until_busy(client, "worker-2")  # so that killing it costs something
    client.inject("worker-2", Fault(FaultKind.KILL))
    while_it_runs(job, "a loss", grew('gradloom_worker_events_total{event="lost"}'))
    while_it_runs(job, "an alert", grew('ALERTS{alertname="WorkerLost",alertstate="firing"}'))
    return hurt_at


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("dashboards")
    tall, wide = saved(folder / "tall.npy", 200_000, 40), saved(folder / "wide.npy", 300, WIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADLOOM_CHECKPOINT_EVERY", "2")
        with (
            LocalCluster(workers=3, allow_chaos=True) as cluster,
            cluster.client() as client,
            proxy_to(cluster.address) as proxy,
            worker_behind(proxy, folder),
            prometheus_for(folder) as prometheus,
        ):
            targets(cluster.address, cluster.metrics_address, folder, os.environ)
            settings = {"solver": "adam", "max_rounds": 30, "tolerance": 0.0}
            short = client.submit("logistic", data=tall, target="40", test_fraction=0.2, settings=settings)
            compressed = endless(client, wide, WIDE, codec="float16")
            assert short.wait(LIMIT_S).state is JobState.COMPLETED
            codec = 'count_over_time(gradloom_codec_seconds_count{op="decode"}[1m])'
            while_it_runs(
                compressed, "its codec", lambda: max(prometheus.now(codec).values(), default=0) >= 3
            )
            compressed.cancel()
            long = endless(client, tall, 40, placement="round_robin")
            hurt_at = suffer(client, proxy, long, prometheus)
            addresses = [worker.metrics_address for worker in client.workers()]
            pages = tuple(page(address) for address in (cluster.metrics_address, *addresses))
            yield Scene(prometheus, (long.id, compressed.id, short.id), hurt_at, pages)


def test_every_panel_has_data_with_the_labels_of_its_legend(scene: Scene) -> None:
    wrong = []
    for query in asked():
        found = (scene.prometheus.series(expr, instant=query.instant) for expr in scene.choices(query))
        series = next(filter(None, found), [])
        if not any(values for _, values in series):
            wrong.append(f"no data: {query}")
        elif (
            lacking := query.labels - MAY_BE_EMPTY - set.intersection(*(set(labels) for labels, _ in series))
        ):
            wrong.append(f"no {', '.join(sorted(lacking))}: {query}")
    assert not wrong, "\n".join(wrong)


def test_the_panels_about_stragglers_name_the_slow_worker(scene: Scene) -> None:
    panel = scene.panel("Who was slow, and why")
    # "far" may be slow, too: its proxy is a thread of this busy process, and it is its network that is blamed
    slow = {worker: rounds for (cause, worker), rounds in panel.items() if cause == "compute"}
    assert max(slow, key=slow.__getitem__) == "worker-1"
    assert slow["worker-1"] >= 1
    # it is given less and less, so it is not last any more: what counts is for how long all others waited for it
    waited = scene.prometheus.series(scene.resolved(scene.query("Waited for this one alone")), instant=False)
    assert max((sum(values), labels["worker"]) for labels, values in waited)[1] == "worker-1"
    ratios = scene.prometheus.series("max_over_time(gradloom_worker_slowdown_ratio[5m])", instant=True)
    assert max((values[0], labels["worker"]) for labels, values in ratios)[1] == "worker-1"


def test_the_panels_about_retries_name_the_others(scene: Scene) -> None:
    failed = scene.panel("Whose tasks failed, and why", BEFORE_S)
    assert ("nonfinite", "worker-0") in failed
    # either may have had nothing in hand at that moment; the alert names the one that was killed whatever it had
    assert {("stream_reset", "far"), ("stream_reset", "worker-2")} & failed.keys()
    assert {worker for reason, worker in failed if reason == "stream_reset"} <= {"far", "worker-2"}
    assert not [worker for reason, worker in failed if reason == "nonfinite" and worker != "worker-0"]
    resumed = scene.panel("Sessions that were resumed or begun anew", BEFORE_S)
    assert max(resumed, key=resumed.__getitem__)[1] == "far"
    assert scene.panel("Not finite", BEFORE_S)[scene.jobs[0],] >= 1


def test_the_alerts_that_must_fire_do(scene: Scene) -> None:
    assert {("WorkerLost", "worker-2"), ("NonFinite", scene.jobs[0])} <= scene.prometheus.firing()


def test_the_marks_are_where_things_happened(scene: Scene) -> None:
    begin, end = scene.prometheus.started_at - LIMIT_S, time.time()
    found = {}
    for mark in {mark.panel: mark for mark in annotations()}.values():
        series = scene.prometheus.series(scene.resolved(mark), instant=False)
        found[mark.panel] = [labels for labels, _ in series]
        assert all(mark.labels - MAY_BE_EMPTY <= set(labels) for labels, _ in series), mark
        assert all(begin <= at / 1000 <= end for _, values in series for at in values), mark
    excluded = found.pop("Worker excluded")
    assert all(found.values()), found
    chaos = {(labels["worker"], labels["reason"]) for labels in found["Chaos"]}
    assert {("worker-0", "nan"), ("worker-1", "slow"), ("worker-2", "kill")} <= chaos
    assert {labels["what"] for labels in found["Steering"]} == {"settings.learning_rate", "speculation"}
    assert "worker-2" in {labels["worker"] for labels in found["Worker lost"]}
    assert isinstance(excluded, list), "nobody has to be excluded"


def test_every_metric_is_used_or_there_is_a_reason(scene: Scene) -> None:
    exported = set()
    for text in scene.pages:
        typed = (line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE "))
        exported |= {name for name, _ in typed}
    rules = "".join(path.read_text() for path in (PROMETHEUS / "rules").glob("*.yml"))
    used = families_in(rules).union(*(families_in(one.expr) for one in (*asked(), *annotations())))
    assert exported - used == set(UNUSED)
    assert not {name for name in used - exported if not name.startswith("gradloom:")}
