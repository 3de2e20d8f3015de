"""Jobs, workers and events as a control room sees them, with only what a test is about spelled out."""

from collections.abc import Iterable
from typing import Any

from gradloom.jobs import (
    JobEvent,
    JobHappening,
    JobState,
    JobView,
    RoundCompleted,
    WorkerShare,
    WorkerState,
    WorkerView,
)
from gradloom.specs import DataSpec, JobSpec

SPEC = JobSpec("logistic", DataSpec(("s3://bucket/rows.parquet",), target="late"))


def a_round(number: int, loss: float | None = None, seconds: float = 0.01, **more: Any) -> RoundCompleted:
    values: dict[str, Any] = {
        "max_rounds": 10_000,
        "gradient_norm": None,
        "validation_loss": None,
        "learning_rate": None,
        "rows_per_second": 1e6,
        "workers": 2,
        "eta_seconds": 3.0,
    }
    return RoundCompleted(
        number, loss=1.0 / number if loss is None else loss, seconds=seconds, **{**values, **more}
    )


def a_worker(name: str, state: WorkerState = WorkerState.BUSY, **more: Any) -> WorkerView:
    values: dict[str, Any] = {
        "host": "lab",
        "pid": 7,
        "cores": 2.0,
        "memory_bytes": 2**31,
        "version": "0.1.0",
        "heartbeat_age_s": 0.2,
        "tasks_in_flight": 0,
        "shards": 4,
        "rows": 100,
        "rows_per_second": 1.5e6,
        "connected_s": 9.0,
        "metrics_address": "",
    }
    return WorkerView(name, state, **{**values, **more})


def a_job(job_id: str = "logistic-1", state: JobState = JobState.RUNNING, **more: Any) -> JobView:
    return JobView(job_id, SPEC, state, "", 1_700_000_000.0, **more)


def a_share(
    worker: str, rows: int = 100, busy: float = 0.5, *, present: bool = True, retries: int = 0
) -> WorkerShare:
    return WorkerShare(worker, 2, rows, busy, retries, present)


def numbered(happenings: Iterable[JobHappening], first: int = 1) -> list[JobEvent]:
    return [JobEvent(first + i, 1_700_000_000.0 + i, what) for i, what in enumerate(happenings)]
