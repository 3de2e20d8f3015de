"""Prometheus metrics of the coordinator. Names, types and labels are for dashboards: change them with care.

Counters count what is finished; gauges are set from a snapshot of the scheduler's state. The series of a worker
that is gone are removed.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gradloom.jobs import JobState, RetryReason, RoundCompleted, WorkerState
from gradloom_coordinator.blame import Cause
from gradloom_coordinator.rounds import Refusal
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.state import ClusterState, Job

ROUND_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
WRITE_BUCKETS_S = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
DROP_LABELS = {
    Refusal.LATE: "late",
    Refusal.STALE: "stale",
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
        self._totals: dict[tuple[str, ...], float] = {}
        self._with: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        """Series by each of their labels: of thousands only a few go with a worker."""

    def of(self, *labels: str) -> Any:
        """The series with these label values; it begins at 0."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._family.labels(*labels) if labels else self._family
            for pair in zip(self._names, labels, strict=True):
                self._with.setdefault(pair, set()).add(labels)
        return child

    def reach(self, total: float, *labels: str) -> None:
        """Let a counter follow a total that somebody else keeps; a total that has shrunk is a new one's."""
        known = self._totals.get(labels, 0.0)
        self.of(*labels).inc(total - known if total >= known else total)
        self._totals[labels] = total

    def forget(self, label: str, value: str) -> None:
        """Remove the series in which ``label`` is ``value``."""
        for labels in self._with.pop((label, value), ()):
            self._family.remove(*labels)
            del self._children[labels]
            self._totals.pop(labels, None)
            for pair in zip(self._names, labels, strict=True):
                if pair in self._with:
                    self._with[pair].discard(labels)


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
        self._checkpoint_seconds = histogram(
            "checkpoint_seconds", "Time to write a checkpoint.", buckets=WRITE_BUCKETS_S
        )
        self._checkpoint_bytes = gauge("checkpoint_bytes", "Size of the last checkpoint.")
        self._checkpoint_age = gauge("checkpoint_age_seconds", "Age of a job's newest checkpoint.", "job_id")
        self._checkpoints = counter("checkpoints", "Checkpoints by how they went.", "result")
        self._store_seconds = histogram(
            "store_write_seconds", "Time of a transaction of the database.", buckets=WRITE_BUCKETS_S
        )
        self._restarts = counter("coordinator_restarts", "Starts of the coordinator after its first one.")
        self._slowdown = gauge(
            "worker_slowdown_ratio", "Time per row against the median of all; 0 = unknown.", "worker"
        )
        self._straggler = gauge("worker_straggler", "1 if slow in the last round.", "worker", "cause")
        self._copies = counter("speculative_tasks", "Copies of late tasks.", "job_id", "result")
        self._saved = counter("speculative_saved_seconds", "What copies have saved, at least.", "job_id")
        self._wasted = counter("speculative_wasted_seconds", "What was computed twice.", "job_id")
        self._steals = counter(
            "steals", "Tasks taken over: from a queue, or given up by a worker.", "job_id", "result"
        )
        self._moved = counter("rebalanced_shards", "Shards that changed their owner.", "job_id")
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
        for result in ("written", "failed", "unusable"):
            self._checkpoints.of(result)
        for family in (self._checkpoint_seconds, self._checkpoint_bytes, self._store_seconds, self._restarts):
            family.of()

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

    def checkpoint_written(self, seconds: float, byte_length: int) -> None:
        """A checkpoint is complete."""
        self._checkpoint_seconds.of().observe(seconds)
        self._checkpoint_bytes.of().set(byte_length)
        self.checkpoint_done("written")

    def checkpoint_done(self, result: str) -> None:
        """One was ``written``, ``failed`` to be, or was found ``unusable``."""
        self._checkpoints.of(result).inc()

    def checkpoint_is_old(self, job_id: str, seconds: float) -> None:
        """The age of a job's newest checkpoint."""
        self._checkpoint_age.of(job_id).set(seconds)

    def store_wrote(self, seconds: float) -> None:
        """A transaction is durable."""
        self._store_seconds.of().observe(seconds)

    def started_again(self, times: int) -> None:
        """How often the coordinator has started after its first time."""
        self._restarts.of().inc(times)

    def forget_job(self, job_id: str) -> None:
        """The job's record is not kept any longer, nor are its series."""
        for family in self._families:
            family.forget("job_id", job_id)

    def _observe_scheduling(self, job: Job) -> None:
        for result in ("launched", "won", "lost", "cancelled"):
            self._copies.reach(getattr(job.copies, result), job.id, result)
        self._saved.reach(job.copies.saved_s, job.id)
        self._wasted.reach(job.copies.wasted_s, job.id)
        self._steals.reach(job.counts.helped, job.id, "helped")
        self._steals.reach(job.counts.stolen, job.id, "given_up")
        self._moved.reach(job.counts.moved_shards, job.id)

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
            self._slowdown.of(worker.id).set(worker.slowdown_ratio)
            for cause in Cause:
                self._straggler.of(worker.id, cause).set(worker.straggler.startswith(cause))
        for job in state.running():
            self._observe_scheduling(job)
        for gone in self._known_workers - set(state.workers):
            for family in self._families:
                family.forget("worker", gone)
        self._known_workers = set(state.workers)
