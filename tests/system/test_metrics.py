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
    "gauge": (
        "workers worker_up worker_info worker_heartbeat_age_seconds worker_slots worker_inflight_tasks "
        "worker_occupancy_seconds worker_shards worker_throughput_rows_per_second worker_slowdown_ratio "
        "worker_straggler worker_event_timestamp_seconds job_event_timestamp_seconds job_info job_state jobs tasks "
        "load_imbalance_ratio retry_budget_remaining ssp_blocked_workers grpc_streams_active round loss "
        "learning_rate gradient_norm progress_ratio eta_seconds synchrony_info goodput_ratio checkpoint_bytes "
        "coordinator_leader tls_certificate_expiry_timestamp_seconds"
    ),
    "counter": (
        "worker_events worker_busy_seconds worker_rows steals rebalanced_shards tasks scheduler_assignments "
        "locality_hits task_retries tasks_quarantined duplicate_results_dropped rework_seconds "
        "stragglers_detected barrier_last_arrivals critical_path_seconds speculative_tasks "
        "speculative_saved_seconds speculative_wasted_seconds gradients_dropped gradient_raw_bytes "
        "gradient_wire_bytes grpc_messages grpc_bytes flow_control_stalls rounds rows nonfinite_updates "
        "control_commands checkpoints coordinator_restarts auth_failures"
    ),
    "histogram": (
        "scheduler_decision_seconds task_queue_wait_seconds task_duration_seconds scheduler_loop_lag_seconds "
        "task_attempts retry_backoff_seconds failure_detection_seconds recovery_seconds barrier_wait_seconds "
        "gradient_staleness_rounds grpc_rtt_seconds round_seconds control_apply_seconds checkpoint_seconds "
        "store_write_seconds"
    ),
}
WORKER_METRICS = {
    "gauge": "worker_memory_bytes worker_shard_bytes tls_certificate_expiry_timestamp_seconds",
    "counter": (
        "worker_time_seconds worker_computed_rows worker_tasks shard_cache grpc_stream_reconnects "
        "worker_cpu_seconds"
    ),
    "histogram": "shard_load_seconds",
}


def typed(table: dict[str, str]) -> dict[str, str]:
    """Each family with its type; the name of a counter as it is asked for."""
    return {
        f"gradloom_{name}" + ("_total" if kind == "counter" else ""): kind
        for kind, names in table.items()
        for name in names.split()
    }


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as answer:
        text: str = answer.read().decode()
    return text


def families(address: str) -> dict[str, Metric]:
    """By name; a counter's ends in _total, since a gauge may have the same name without it."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(page(address))
    }


def types(found: dict[str, Metric]) -> dict[str, str]:
    """Of our own families."""
    return {name: family.type for name, family in found.items() if name.startswith("gradloom_")}


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    """The sum of a family's samples that have these labels; 0 if there is none."""
    samples = found[name].samples
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


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
    next(rounds)
    before = families(cluster.metrics_address)
    assert typed(COORDINATOR_METRICS).items() <= types(before).items()
    assert value(before, "gradloom_jobs", **running) == 1
    assert value(before, "gradloom_worker_up") == 2
    assert 0 < value(before, "gradloom_loss", job_id=long_job, split="train") < 1
    done = {"job_id": long_job}
    shown = value(before, "gradloom_rounds_total", **done)
    last = next(n for event in rounds if (n := event.round_completed.round) >= shown + 5)
    after = families(cluster.metrics_address)
    assert value(after, "gradloom_round", **done) >= last
    assert value(after, "gradloom_rounds_total", **done) >= last
    assert value(after, "gradloom_tasks_total", outcome="succeeded", **done) >= 2 * last
    assert value(after, "gradloom_worker_rows_total", worker="worker-0", **done) > 0
    assert value(after, "gradloom_worker_busy_seconds_total") > value(
        before, "gradloom_worker_busy_seconds_total"
    )
    assert all(counts(after)[key] >= count for key, count in counts(before).items())


def test_a_worker_tells_where_its_time_goes(cluster: LocalCluster, jobs: Any, long_job: str) -> None:
    rounds = (event for event in events(jobs, long_job) if event.HasField("round_completed"))
    next(rounds)
    address = metrics_addresses(cluster)[1]
    before = families(address)
    rows = value(before, "gradloom_worker_computed_rows_total")
    after = next(
        m for _ in rounds if value(m := families(address), "gradloom_worker_computed_rows_total") > rows
    )
    assert rows > 0
    assert typed(WORKER_METRICS) == types(after)
    assert after["process_resident_memory_bytes"].type == "gauge"
    assert value(after, "gradloom_worker_memory_bytes", kind="rss") > value(
        after, "gradloom_worker_memory_bytes", kind="shards"
    )
    phases = {
        s.labels["phase"] for s in after["gradloom_worker_time_seconds_total"].samples if "phase" in s.labels
    }
    assert phases == {"queue", "load", "decode", "compute", "encode", "send", "barrier_wait", "idle"}
    time_of_all = "gradloom_worker_time_seconds_total"
    early, first, late = time.monotonic(), families(address), time.monotonic()
    next(rounds)
    later, second, latest = time.monotonic(), families(address), time.monotonic()
    passed_s = value(second, time_of_all) - value(first, time_of_all)
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
