"""Prometheus metrics of the coordinator. Names, types and labels are for dashboards: change them with care.

Counters count what is finished; gauges are set from a snapshot of the scheduler's state. The series of a worker
that is gone are removed.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gradloom.jobs import JobState, RetryReason, RoundCompleted, WorkerState
from gradloom_coordinator.rounds import Refusal
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.state import ClusterState

ROUND_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
DROP_LABELS = {
    Refusal.LATE: "late",
    Refusal.DUPLICATE: "duplicate",
    Refusal.UNKNOWN_JOB: "job_over",
    Refusal.FOREIGN: "foreign",
    Refusal.WORKER_GONE: "worker_gone",
}


class Series:
    """One family of series. Each is looked up once, and all that carry a label go together."""

    def __init__(self, kind: type[Any], name: str, help_: str, *labels: str, **options: Any) -> None:
        self._family = kind(name, help_, labels, **options)
        self._names = labels
        self._children: dict[tuple[str, ...], Any] = {}

    def of(self, *labels: str) -> Any:
        """The series with these label values; it begins at 0."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._family.labels(*labels)
        return child

    def forget(self, label: str, value: str) -> None:
        """Remove the series in which ``label`` is ``value``."""
        for labels in [
            labels for labels in self._children if (label, value) in zip(self._names, labels, strict=True)
        ]:
            self._family.remove(*labels)
            del self._children[labels]


class CoordinatorMetrics:
    """The coordinator's own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families: list[Series] = []
        gauge, counter, histogram = (partial(self._family, kind) for kind in (Gauge, Counter, Histogram))
        self._workers = gauge("workers", "Connected workers by state.", "state")
        self._worker_up = gauge("worker_up", "1 while the worker is connected.", "worker")
        self._heartbeat_age = gauge(
            "worker_heartbeat_age_seconds", "Time since the last sign of life.", "worker"
        )
        self._inflight = gauge("worker_inflight_tasks", "Tasks in a worker's hands.", "worker")
        self._throughput = gauge(
            "worker_throughput_rows_per_second", "Moving average of a worker's own computing.", "worker"
        )
        self._busy = counter("worker_busy_seconds", "Time a worker spent on tasks it answered.", "worker")
        self._rows = counter("worker_rows", "Rows computed on, again in each round.", "worker", "job_id")
        self._tasks = counter("tasks", "Finished tasks.", "job_id", "outcome")
        self._retries = counter("task_retries", "Tasks given again.", "job_id", "worker", "reason")
        self._dropped = counter("duplicate_results_dropped", "Answers that were not counted.", "reason")
        self._jobs = gauge("jobs", "Jobs by state.", "state")
        self._round = gauge("round", "Rounds of training done.", "job_id")
        self._loss = gauge("loss", "Loss after the last round.", "job_id", "split")
        self._rounds = counter("rounds", "Rounds of training done.", "job_id")
        self._round_seconds = histogram(
            "round_seconds", "Duration of a round of training.", "job_id", buckets=ROUND_BUCKETS_S
        )
        self._known_workers: set[str] = set()
        self._preset()

    def _family(self, kind: type[Any], name: str, help_: str, *labels: str, **options: Any) -> Series:
        series = Series(kind, f"gradloom_{name}", help_, *labels, registry=self.registry, **options)
        self._families.append(series)
        return series

    def _preset(self) -> None:
        """Every label set that is known beforehand starts at 0, so that no panel is empty."""
        for state in WorkerState:
            self._workers.of(state)
        for job_state in JobState:
            self._jobs.of(job_state)
        for label in DROP_LABELS.values():
            self._dropped.of(label)

    def job_started(self, job_id: str) -> None:
        """A job's own series begin at 0."""
        for outcome in ("succeeded", "failed"):
            self._tasks.of(job_id, outcome)
        for family in (self._round, self._rounds, self._round_seconds):
            family.of(job_id)

    def task_done(self, worker: str, job_id: str, rows: int, busy_s: float) -> None:
        """A task was answered with a partial."""
        self._tasks.of(job_id, "succeeded").inc()
        self._rows.of(worker, job_id).inc(rows)
        self._busy.of(worker).inc(busy_s)

    def retried(self, job_id: str, worker: str, reason: RetryReason) -> None:
        """A task has to be computed again."""
        self._tasks.of(job_id, "failed").inc()
        self._retries.of(job_id, worker, reason).inc()

    def dropped(self, reason: str) -> None:
        """An answer was not counted."""
        self._dropped.of(DROP_LABELS[Refusal(reason)]).inc()

    def round_done(self, job_id: str, completed: RoundCompleted) -> None:
        """A round of training is done."""
        self._rounds.of(job_id).inc()
        self._round.of(job_id).set(completed.round)
        self._round_seconds.of(job_id).observe(completed.seconds)
        for split, loss in (("train", completed.loss), ("validation", completed.validation_loss)):
            if loss is not None:
                self._loss.of(job_id, split).set(loss)

    def forget_job(self, job_id: str) -> None:
        """The job's record is not kept any longer, nor are its series."""
        for family in self._families:
            family.forget("job_id", job_id)

    def observe(self, state: ClusterState, runs: Mapping[str, JobRun], now: float) -> None:
        """Set the gauges from what the scheduler knows."""
        for worker_state in WorkerState:
            self._workers.of(worker_state).set(sum(w.state is worker_state for w in state.workers.values()))
        for job_state in JobState:
            self._jobs.of(job_state).set(sum(run.state is job_state for run in runs.values()))
        for worker in state.workers.values():
            self._worker_up.of(worker.id).set(1)
            self._heartbeat_age.of(worker.id).set(now - worker.heard_at)
            self._inflight.of(worker.id).set(len(worker.tasks))
            self._throughput.of(worker.id).set(worker.rows_per_second)
            self._busy.of(worker.id)
        for gone in self._known_workers - set(state.workers):
            for family in self._families:
                family.forget("worker", gone)
        self._known_workers = set(state.workers)
