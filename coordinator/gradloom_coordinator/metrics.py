"""Prometheus metrics of the coordinator. Names, types and labels are for dashboards: change them with care.

Counters count what is finished; gauges are set from a snapshot of the scheduler's state. The series of a worker
that is gone are removed.
"""

from collections.abc import Mapping
from contextlib import suppress

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


class CoordinatorMetrics:
    """The coordinator's own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._workers = Gauge("gradloom_workers", "Connected workers by state.", ["state"], registry=r)
        self._worker_up = Gauge(
            "gradloom_worker_up", "1 while the worker is connected.", ["worker"], registry=r
        )
        self._heartbeat_age = Gauge(
            "gradloom_worker_heartbeat_age_seconds",
            "Time since the last sign of life.",
            ["worker"],
            registry=r,
        )
        self._inflight = Gauge(
            "gradloom_worker_inflight_tasks", "Tasks in a worker's hands.", ["worker"], registry=r
        )
        self._throughput = Gauge(
            "gradloom_worker_throughput_rows_per_second",
            "Moving average of a worker's own computing.",
            ["worker"],
            registry=r,
        )
        self._busy = Counter(
            "gradloom_worker_busy_seconds",
            "Time a worker spent on tasks it answered.",
            ["worker"],
            registry=r,
        )
        self._tasks = Counter("gradloom_tasks", "Finished tasks.", ["outcome"], registry=r)
        self._retries = Counter("gradloom_task_retries", "Tasks given again.", ["reason"], registry=r)
        self._dropped = Counter(
            "gradloom_duplicate_results_dropped", "Answers that were not counted.", ["reason"], registry=r
        )
        self._jobs = Gauge("gradloom_jobs", "Jobs by state.", ["state"], registry=r)
        self._round = Gauge("gradloom_round", "Rounds of training done.", ["job_id"], registry=r)
        self._loss = Gauge("gradloom_loss", "Loss after the last round.", ["job_id", "split"], registry=r)
        self._rounds = Counter("gradloom_rounds", "Rounds of training done.", ["job_id"], registry=r)
        self._round_seconds = Histogram(
            "gradloom_round_seconds", "Duration of a round of training.", registry=r, buckets=ROUND_BUCKETS_S
        )
        self._succeeded = self._tasks.labels("succeeded")
        self._busy_of: dict[str, Counter] = {}
        self._known_workers: set[str] = set()
        self._preset()

    def _preset(self) -> None:
        """Every label set that is known beforehand starts at 0, so that no panel is empty."""
        for state in WorkerState:
            self._workers.labels(state).set(0)
        for job_state in JobState:
            self._jobs.labels(job_state).set(0)
        for reason in RetryReason:
            self._retries.labels(reason)
        for label in DROP_LABELS.values():
            self._dropped.labels(label)
        for outcome in ("succeeded", "failed"):
            self._tasks.labels(outcome)

    def task_done(self, worker: str, busy_s: float) -> None:
        """A task was answered with a partial."""
        self._succeeded.inc()
        busy = self._busy_of.get(worker)
        if busy is None:
            busy = self._busy_of[worker] = self._busy.labels(worker)
        busy.inc(busy_s)

    def retried(self, reason: RetryReason) -> None:
        """A task has to be computed again."""
        self._tasks.labels("failed").inc()
        self._retries.labels(reason).inc()

    def dropped(self, reason: str) -> None:
        """An answer was not counted."""
        self._dropped.labels(DROP_LABELS[Refusal(reason)]).inc()

    def round_done(self, job_id: str, completed: RoundCompleted) -> None:
        """A round of training is done."""
        self._rounds.labels(job_id).inc()
        self._round.labels(job_id).set(completed.round)
        self._round_seconds.observe(completed.seconds)
        for split, loss in (("train", completed.loss), ("validation", completed.validation_loss)):
            if loss is not None:
                self._loss.labels(job_id, split).set(loss)

    def forget_job(self, job_id: str) -> None:
        """The job's record is not kept any longer, nor are its series."""
        for family, *more in (
            (self._rounds,),
            (self._round,),
            (self._loss, "train"),
            (self._loss, "validation"),
        ):
            with suppress(KeyError):  # it never had any
                family.remove(job_id, *more)

    def observe(self, state: ClusterState, runs: Mapping[str, JobRun], now: float) -> None:
        """Set the gauges from what the scheduler knows."""
        for worker_state in WorkerState:
            self._workers.labels(worker_state).set(
                sum(w.state is worker_state for w in state.workers.values())
            )
        for job_state in JobState:
            self._jobs.labels(job_state).set(sum(run.state is job_state for run in runs.values()))
        for worker in state.workers.values():
            self._worker_up.labels(worker.id).set(1)
            self._heartbeat_age.labels(worker.id).set(now - worker.heard_at)
            self._inflight.labels(worker.id).set(len(worker.tasks))
            self._throughput.labels(worker.id).set(worker.rows_per_second)
            self._busy.labels(worker.id)
        for gone in self._known_workers - set(state.workers):
            for family in (
                self._worker_up,
                self._heartbeat_age,
                self._inflight,
                self._throughput,
                self._busy,
            ):
                family.remove(gone)
            self._busy_of.pop(gone, None)
        self._known_workers = set(state.workers)
