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
UNUSED = {
    "python_info": "which Python runs is no matter of time",
    "python_gc_objects_collected_total": "collections are shown; how much each of them found says little",
    "python_gc_objects_uncollectable_total": "stays 0 in Python 3",
}
"""Metrics that no panel and no rule asks for, and why."""


@dataclass(frozen=True)
class Scene:
    """What is left when everything has happened."""

    prometheus: Prometheus
    long: str
    """The job that went through all of it."""
    pages: tuple[str, ...]
    """Of the coordinator and of workers that are still there."""

    def resolved(self, query: Asked) -> str:
        """A query with the variables that a person would choose."""
        one_job, one_worker = query.board == "gradloom-job", query.board == "gradloom-worker"
        seconds = int(time.time() - self.prometheus.started_at) + 1
        return query.resolved(
            {
                "job_id": self.long if one_job else ".*",
                "worker": "worker-1" if one_worker else ".*",
                "__rate_interval": "10s",
                "__range": f"{seconds}s",
            }
        )

    def panel(self, title: str) -> dict[tuple[str, ...], float]:
        """The bars of a panel of the main dashboard."""
        (query,) = (q for q in asked() if (q.board, q.panel) == ("gradloom-cluster-and-job", title))
        return self.prometheus.now(self.resolved(query))


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


def suffer(cluster: LocalCluster, client: Client, proxy: Proxy, job: Job, prometheus: Prometheus) -> None:
    """One NaN, one slow worker, one reset, one kill; and a person who changes the job."""

    def grew(expr: str, least: float = 1) -> Callable[[], bool]:
        return lambda: sum(prometheus.now(expr).values()) >= least

    while_it_runs(
        job, "it is seen", grew(f'count_over_time(gradloom_rounds_total{{job_id="{job.id}"}}[1m])', 3)
    )
    client.inject("worker-0", Fault(FaultKind.NAN, count=1))
    client.inject("worker-1", Fault(FaultKind.SLOW, seconds=3000.0, factor=20.0))
    proxy.cut()
    job.update(speculation=False, settings={"learning_rate": 0.01})
    while_it_runs(job, "a slow worker", grew('gradloom_stragglers_detected_total{worker="worker-1"}', 5))
    while_it_runs(job, "a NaN", grew('gradloom_task_retries_total{worker="worker-0",reason="nonfinite"}'))
    while_it_runs(job, "a reset", grew('gradloom_grpc_stream_reconnects_total{worker="far"}'))
    client.inject("worker-2", Fault(FaultKind.KILL))
    while_it_runs(job, "a loss", grew('gradloom_worker_events_total{event="lost"}'))
    while_it_runs(job, "an alert", grew('ALERTS{alertname="WorkerLost",alertstate="firing"}'))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("dashboards")
    tall, wide = saved(folder / "tall.npy", 60_000, 40), saved(folder / "wide.npy", 300, WIDE)
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
            long = endless(client, tall, 40)
            suffer(cluster, client, proxy, long, prometheus)
            compressed.cancel()
            addresses = [worker.metrics_address for worker in client.workers()]
            pages = tuple(page(address) for address in (cluster.metrics_address, *addresses))
            yield Scene(prometheus, long.id, pages)


def test_every_panel_has_data_with_the_labels_of_its_legend(scene: Scene) -> None:
    wrong = []
    for query in asked():
        series = scene.prometheus.series(scene.resolved(query), instant=query.instant)
        if not any(values for _, values in series):
            wrong.append(f"no data: {query}")
        elif lacking := query.labels - set.intersection(*(set(labels) for labels, _ in series)):
            wrong.append(f"no {', '.join(sorted(lacking))}: {query}")
    assert not wrong, "\n".join(wrong)


def test_the_panels_about_stragglers_name_the_slow_worker(scene: Scene) -> None:
    slow = scene.panel("Who was slow, and why")
    assert max(slow, key=slow.__getitem__) == ("compute", "worker-1")
    last = scene.panel("Who was last")
    assert max(last, key=last.__getitem__) == ("worker-1",)
    ratios = scene.prometheus.series("max_over_time(gradloom_worker_slowdown_ratio[5m])", instant=True)
    assert max((values[0], labels["worker"]) for labels, values in ratios)[1] == "worker-1"


def test_the_panels_about_retries_name_the_others(scene: Scene) -> None:
    failed = scene.panel("Whose tasks failed, and why")
    assert {("nonfinite", "worker-0"), ("stream_reset", "worker-2")} <= failed.keys()
    assert not [worker for reason, worker in failed if reason == "nonfinite" and worker != "worker-0"]
    resumed = scene.panel("Sessions that were resumed or begun anew")
    assert max(resumed, key=resumed.__getitem__)[1] == "far"
    assert scene.panel("Not finite")[scene.long,] >= 1


def test_the_alerts_that_must_fire_do(scene: Scene) -> None:
    assert {("WorkerLost", "worker-2"), ("NonFinite", scene.long)} <= scene.prometheus.firing()


def test_the_marks_are_where_things_happened(scene: Scene) -> None:
    begin, end = scene.prometheus.started_at - LIMIT_S, time.time()
    found = {}
    for mark in {mark.panel: mark for mark in annotations()}.values():
        series = scene.prometheus.series(scene.resolved(mark), instant=False)
        found[mark.panel] = [labels for labels, _ in series]
        assert all(mark.labels <= set(labels) for labels, _ in series), mark
        assert all(begin <= at / 1000 <= end for _, values in series for at in values), mark
    excluded = found.pop("Worker excluded")
    assert all(found.values()), found
    assert {(labels["worker"], labels["reason"]) for labels in found["Chaos"]} == {
        ("worker-0", "nan"),
        ("worker-1", "slow"),
        ("worker-2", "kill"),
    }
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
