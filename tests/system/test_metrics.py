"""What Prometheus reads from a coordinator and its workers while a job runs."""

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from builders.calls import LIMIT_S, endless, events, submitted
from gradloom import LocalCluster
from gradloom.v1 import job_service_pb2, job_service_pb2_grpc

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def jobs(cluster: LocalCluster) -> Iterator[Any]:
    with grpc.insecure_channel(cluster.address) as channel:
        yield job_service_pb2_grpc.JobServiceStub(channel)


@pytest.fixture
def long_job(jobs: Any, slow_data: Path) -> Iterator[str]:
    """The id of a job that runs for as long as the test does."""
    job_id = submitted(jobs, endless(str(slow_data), "60")).job_id
    yield job_id
    jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id), timeout=LIMIT_S)


COORDINATOR_METRICS = {
    "gradloom_workers": "gauge",
    "gradloom_worker_up": "gauge",
    "gradloom_worker_heartbeat_age_seconds": "gauge",
    "gradloom_worker_inflight_tasks": "gauge",
    "gradloom_worker_throughput_rows_per_second": "gauge",
    "gradloom_worker_busy_seconds": "counter",
    "gradloom_worker_rows": "counter",
    "gradloom_tasks": "counter",
    "gradloom_task_retries": "counter",
    "gradloom_duplicate_results_dropped": "counter",
    "gradloom_jobs": "gauge",
    "gradloom_round": "gauge",
    "gradloom_loss": "gauge",
    "gradloom_rounds": "counter",
    "gradloom_round_seconds": "histogram",
}
WORKER_METRICS = {
    "gradloom_worker_time_seconds": "counter",
    "gradloom_worker_computed_rows": "counter",
    "gradloom_worker_tasks": "counter",
    "gradloom_shard_cache": "counter",
    "gradloom_shard_load_seconds": "histogram",
    "gradloom_worker_shard_bytes": "gauge",
    "process_resident_memory_bytes": "gauge",
}


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as answer:
        text: str = answer.read().decode()
    return text


def families(address: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(page(address))}


def value(found: dict[str, Metric], family: str, suffix: str = "", **labels: str) -> float:
    """The sum of a family's samples that have these labels; 0 if there is none."""
    samples = found[family].samples
    return sum(s.value for s in samples if s.name == family + suffix and labels.items() <= s.labels.items())


def counts(found: dict[str, Metric]) -> dict[tuple[str, str], float]:
    """Everything that may only go up."""
    return {
        (sample.name, str(sorted(sample.labels.items()))): sample.value
        for family in found.values()
        if family.type in ("counter", "histogram")
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def metrics_addresses(cluster: LocalCluster) -> list[str]:
    with cluster.client() as client:
        return [cluster.metrics_address, *(worker.metrics_address for worker in client.workers())]


def test_the_coordinator_tells_how_a_running_job_stands(
    cluster: LocalCluster, jobs: Any, long_job: str
) -> None:
    rounds = (event for event in events(jobs, long_job) if event.HasField("round_completed"))
    running = {"state": "running"}
    # gauges of jobs are set by the clock, a few times a second: rounds pass until they show
    before = next(
        m for _ in rounds if value(m := families(cluster.metrics_address), "gradloom_jobs", **running)
    )
    assert {name: before[name].type for name in COORDINATOR_METRICS} == COORDINATOR_METRICS
    assert value(before, "gradloom_jobs", **running) == 1
    assert value(before, "gradloom_worker_up") == 2
    assert 0 < value(before, "gradloom_loss", job_id=long_job, split="train") < 1
    done = {"job_id": long_job}
    shown = value(before, "gradloom_rounds", "_total", **done)
    last = next(n for event in rounds if (n := event.round_completed.round) >= shown + 5)
    after = families(cluster.metrics_address)
    assert value(after, "gradloom_round", **done) >= last
    assert value(after, "gradloom_rounds", "_total", **done) >= last
    assert value(after, "gradloom_tasks", "_total", outcome="succeeded", **done) >= 2 * last
    assert value(after, "gradloom_worker_rows", "_total", worker="worker-0", **done) > 0
    assert value(after, "gradloom_worker_busy_seconds", "_total") > value(
        before, "gradloom_worker_busy_seconds", "_total"
    )
    assert all(counts(after)[key] >= count for key, count in counts(before).items())


def test_a_worker_tells_where_its_time_goes(cluster: LocalCluster, jobs: Any, long_job: str) -> None:
    rounds = (event for event in events(jobs, long_job) if event.HasField("round_completed"))
    next(rounds)
    address = metrics_addresses(cluster)[1]
    before = families(address)
    rows = value(before, "gradloom_worker_computed_rows", "_total")
    after = next(
        m for _ in rounds if value(m := families(address), "gradloom_worker_computed_rows", "_total") > rows
    )
    assert rows > 0
    assert {name: after[name].type for name in WORKER_METRICS} == WORKER_METRICS
    phases = {s.labels["phase"] for s in after["gradloom_worker_time_seconds"].samples if "phase" in s.labels}
    assert phases == {"queue", "load", "decode", "compute", "encode", "send", "barrier_wait", "idle"}
    time_of_all = "gradloom_worker_time_seconds"
    early, first, late = time.monotonic(), families(address), time.monotonic()
    next(rounds)
    later, second, latest = time.monotonic(), families(address), time.monotonic()
    passed_s = value(second, time_of_all, "_total") - value(first, time_of_all, "_total")
    assert later - late <= passed_s <= latest - early
    assert value(after, "gradloom_worker_shard_bytes") >= 50_000 * 60 * 4
    assert all(counts(after)[key] >= count for key, count in counts(before).items())


def test_prometheus_finds_nothing_wrong_with_the_metrics(
    cluster: LocalCluster, jobs: Any, long_job: str
) -> None:
    assert shutil.which("promtool"), "promtool not found: install the Debian package prometheus"
    next(event for event in events(jobs, long_job) if event.HasField("round_completed"))
    for address in metrics_addresses(cluster):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=page(address),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
